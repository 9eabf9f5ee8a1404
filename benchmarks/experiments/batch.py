"""POST of batches of 500 events against COPY of as many rows per transaction."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

import asyncpg
import uvloop
from uuid_utils.compat import uuid7

from benchmarks.bench import ALONE, Bench
from benchmarks.database import PostgresStore
from benchmarks.experiments.post import RATE
from benchmarks.fill import create_twin
from benchmarks.load import Load
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target
from benchmarks.side import LoadSide

BATCH = 500
CONNECTIONS = 4
TWIN = "copied_events"
COLUMNS = ("id", "position", "file_id", "event_type", "created_at", "metadata", "created_by")

Rows = list[tuple[Any, ...]]


@dataclass(kw_only=True)
class CopySide:
    """COPY of rows that are made before the clock starts, over one connection and over as many as the service's load.

    The faster of the two counts.
    """

    bench: Bench
    store: PostgresStore
    _positions: Iterator[int] = field(default_factory=lambda: count(1))

    def __call__(self) -> Figures:
        """Measure once."""
        rates = {
            f"with_{connections}_connections": uvloop.run(self._copy(self._batches(), connections))
            for connections in (1, CONNECTIONS)
        }
        return rates | {RATE: max(rates.values())}

    def _batches(self) -> list[Rows]:
        number = self.bench.plan.copied_batches
        return [[self._row() for _ in range(BATCH)] for _ in range(number)]

    def _row(self) -> tuple[Any, ...]:
        metadata = '{"path":"reports/1.pdf","size":5242880}'
        return uuid7(), next(self._positions), uuid4(), "upload", datetime.now(UTC), metadata, "chunker@clients"

    async def _copy(self, batches: list[Rows], number: int) -> float:
        """Rows per second."""
        connections = [await asyncpg.connect(self.store.url) for _ in range(number)]
        total = len(batches) * BATCH

        async def work(connection: Any) -> None:
            while batches:
                await connection.copy_records_to_table(TWIN, records=batches.pop(), columns=COLUMNS)

        started = time.perf_counter()
        await asyncio.gather(*map(work, connections))
        seconds = time.perf_counter() - started
        await asyncio.gather(*(connection.close() for connection in connections))
        return total / seconds


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """The service, and COPY on a database of its own."""
    with ExitStack() as stack:
        stores = [stack.enter_context(bench.postgres_store()) for _ in range(2)]
        create_twin(stores[1], TWIN)
        service = stack.enter_context(bench.service(stores[0], **ALONE))
        load = Load(path="/sync-events/batch", tokens=bench.tokens, connections=CONNECTIONS, batch=BATCH)
        yield {
            "service": LoadSide(bench=bench, service=service, store=stores[0], load=load),
            "COPY": CopySide(bench=bench, store=stores[1]),
        }


EXPERIMENT = Experiment(
    name="batch",
    open=open_sides,
    rows=(
        Row(
            name="batch",
            work="POST batches of 500, PostgreSQL, 1 worker, 4 connections",
            compared="COPY of 500 rows per transaction, same table and indexes, 1 or 4 connections, the faster",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("COPY", RATE),
            target=Target(kind="at least", bound=0.5),
            limit="Python on one core: strict JSON and validation of each event",
        ),
    ),
)
