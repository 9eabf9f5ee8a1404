"""The cost of a large ledger: single requests and sweep batches on a large one against a small one."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import cycle
from statistics import median
from urllib.parse import urlsplit
from uuid import uuid4

from app.config import Settings
from app.database.engine import Database
from app.sweep.sweeper import Sweeper
from benchmarks.bench import ALONE, Bench
from benchmarks.database import PostgresStore
from benchmarks.drain_ledger import build_sweeper
from benchmarks.fill import append_backlog, fill_ledger
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target, Violation
from benchmarks.plan import FULL

SIDE = "both"
SAMPLE = 2_000
BATCH = int(Settings.model_fields["sync_event_batch_size"].default)
OPERATIONS = {
    "post": "POST one event",
    "get": "GET one event",
    "first_page": "first page of the list",
    "deep_page": f"page at offset {FULL.large_offset:,} (small: {FULL.small_offset:,})",
    "filtered_page": f"processed uploads below position {FULL.large_offset:,} (small: {FULL.small_offset:,})",
    "sweep": "one batch of the sweep",
}


class Client:
    """One keep-alive connection to a service, a request at a time."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def time(self, method: str, path: str, body: str | None = None) -> float:
        """Milliseconds from sending a request to the end of its response.

        Raises:
            Violation: the response is not a success.
        """
        started = time.perf_counter()
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        response.read()
        took = time.perf_counter() - started
        if response.status not in {200, 201}:
            raise Violation(f"{method} {path} got the status {response.status}")
        return took * 1000


@dataclass(kw_only=True)
class Ledger:
    """A filled ledger with a service on it."""

    store: PostgresStore
    client: Client
    ids: Iterator[str]
    offset: int

    def time(self, operation: str) -> float:
        """Milliseconds of one request."""
        match operation:
            case "post":
                event = {"file_id": str(uuid4()), "event_type": "upload", "metadata": {"path": "reports/1.pdf"}}
                return self.client.time("POST", "/sync-events", json.dumps(event))
            case "get":
                return self.client.time("GET", f"/sync-events/{next(self.ids)}")
            case "first_page":
                return self.client.time("GET", "/sync-events?limit=10")
            case "deep_page":
                return self.client.time("GET", f"/sync-events?limit=10&offset={self.offset}")
            case _:
                query = f"processed=true&event_type=upload&before_position={self.offset}"
                return self.client.time("GET", f"/sync-events?limit=10&{query}")


@dataclass(kw_only=True)
class GrowthSide:
    """Times both ledgers request by request in turn."""

    bench: Bench
    ledgers: Mapping[str, Ledger]

    def __call__(self) -> Figures:
        """Measure once; medians in milliseconds."""
        figures: dict[str, float] = {}
        for operation in OPERATIONS:
            if operation == "sweep":
                figures |= asyncio.run(self._sweep())
                continue
            times = self._alternate(operation)
            figures |= {f"{operation}_{name}_ms": median(each) for name, each in times.items()}
        return figures

    def _alternate(self, operation: str) -> dict[str, list[float]]:
        times: dict[str, list[float]] = {name: [] for name in self.ledgers}
        for _ in range(self.bench.plan.growth_requests):
            for name, ledger in self.ledgers.items():
                times[name].append(ledger.time(operation))
        return times

    async def _sweep(self) -> dict[str, float]:
        batches = self.bench.plan.growth_batches
        sweepers: dict[str, Sweeper] = {}
        async with _databases(self.ledgers) as databases:
            for name, database in databases.items():
                sweepers[name] = build_sweeper(Settings(_env_file=None), database)
                await sweepers[name].run_once()
                await asyncio.to_thread(append_backlog, self.ledgers[name].store, batches * BATCH)
            times: dict[str, list[float]] = {name: [] for name in sweepers}
            for _ in range(batches):
                for name, sweeper in sweepers.items():
                    started = time.perf_counter()
                    await sweeper.sweep_batch()
                    times[name].append((time.perf_counter() - started) * 1000)
        return {f"sweep_{name}_ms": median(each) for name, each in times.items()}


@asynccontextmanager
async def _databases(ledgers: Mapping[str, Ledger]) -> AsyncIterator[dict[str, Database]]:
    """A pool of our own on each of the ledgers."""
    async with AsyncExitStack() as stack:
        databases = {}
        for name, ledger in ledgers.items():
            databases[name] = Database(Settings(_env_file=None, database_url=ledger.store.url))
            stack.push_async_callback(databases[name].close)
        yield databases


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """A service on each of the two ledgers, which are equally vacuumed and analysed."""
    plan = bench.plan
    with ExitStack() as stack:
        large = bench.large_store()
        small = stack.enter_context(bench.postgres_store())
        fill_ledger(small, plan.small_rows, processed=True)
        ledgers = {
            name: Ledger(
                store=store,
                client=Client(stack.enter_context(bench.service(store, **ALONE)).url, bench.token),
                ids=_random_ids(store, rows),
                offset=offset,
            )
            for name, store, rows, offset in (
                ("large", large, plan.large_rows, plan.large_offset),
                ("small", small, plan.small_rows, plan.small_offset),
            )
        }
        yield {SIDE: GrowthSide(bench=bench, ledgers=ledgers)}


def _random_ids(store: PostgresStore, rows: int) -> Iterator[str]:
    """Ids of events from anywhere in the ledger, for ever."""
    positions = [random.randint(1, rows) for _ in range(SAMPLE)]  # noqa: S311 - no secret
    return cycle([str(row[0]) for row in store.rows("SELECT id FROM sync_events WHERE position = ANY ($1)", positions)])


EXPERIMENT = Experiment(
    name="growth",
    open=open_sides,
    rows=tuple(
        Row(
            name=f"growth-{operation.replace('_', '-')}",
            work=f"{work}, {FULL.large_rows:,} events in the ledger",
            compared=f"the same at {FULL.small_rows:,}",
            unit="ms",
            ours=Pick(SIDE, f"{operation}_large_ms"),
            baseline=Pick(SIDE, f"{operation}_small_ms"),
            target=Target(kind="at most", bound=1.25),
            limit="depth of the indexes, and pages outside PostgreSQL's caches",
        )
        for operation, work in OPERATIONS.items()
    ),
)
