"""`python -m benchmarks.drain_ledger`: one pass of the sweep, as the lifespan builds it, timed; prints JSON."""

import json
import time
from datetime import timedelta

import uvloop

from app.config import Settings, load_settings
from app.consistency.file_check_repository import FileCheckHandler
from app.database.engine import Database
from app.deliveries.repository import FanOutHandler
from app.files.repository import FileStateHandler
from app.sweep.sweeper import Sweeper


def build_sweeper(settings: Settings, database: Database) -> Sweeper:
    """The sweeper with the default handlers, as `app.lifespan` builds it."""
    return Sweeper(
        database,
        [FileStateHandler(), FanOutHandler(), FileCheckHandler()],
        batch_size=settings.sync_event_batch_size,
        max_attempts=settings.sync_event_max_attempts,
        retry_interval=timedelta(seconds=settings.sync_event_process_interval),
    )


async def main() -> None:
    """Drain the backlog."""
    settings = load_settings()
    database = Database(settings)
    sweeper = build_sweeper(settings, database)
    started, used = time.perf_counter(), time.process_time()
    taken = await sweeper.run_once()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
    await database.close()
    print(json.dumps({"taken": taken, "seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    uvloop.run(main())
