"""`python -m benchmarks.drain_queue JOBS TIMED`: pgqueuer draining jobs that do nothing; prints JSON.

The first `TIMED` of the jobs are timed, and it ends after them: it takes longer than the rest of the sweep's row.
"""

import asyncio
import json
import sys
import time
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from app.config import load_settings

# Of one to five consumers with batches of 10 to 1000 this took the least CPU and was the fastest; five with batches of
# 10, the defaults of pgqueuer's own benchmark, were less than half as fast.
CONSUMERS = 1
BATCH = 1000
ENQUEUED_AT_ONCE = 10_000


async def main(jobs: int, timed: int) -> None:
    """Fill a fresh queue, then drain it."""
    url = load_settings().database_url
    queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    if not await queries.has_table(queries.qbe.settings.queue_table):
        await queries.install()
    await queries.clear_queue()
    for _ in range(0, jobs, ENQUEUED_AT_ONCE):
        size = min(ENQUEUED_AT_ONCE, jobs)
        await queries.enqueue(["nothing"] * size, [None] * size, [0] * size)
    await queries.driver.execute("VACUUM (ANALYZE)")
    consumers = [PgQueuer(AsyncpgDriver(await asyncpg.connect(url))) for _ in range(CONSUMERS)]
    taken = 0
    ended = used = 0.0

    async def nothing(_job: Job) -> None:
        nonlocal taken, ended, used
        taken += 1
        if taken == timed:
            ended, used = time.perf_counter(), time.process_time() - begun
            for consumer in consumers:
                consumer.shutdown.set()

    for consumer in consumers:
        consumer.entrypoint("nothing")(nothing)
    started, begun = time.perf_counter(), time.process_time()
    await asyncio.gather(
        *(
            consumer.run(batch_size=BATCH, mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=1))
            for consumer in consumers
        )
    )
    print(json.dumps({"taken": min(taken, timed), "seconds": ended - started, "cpu_seconds": used}))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
