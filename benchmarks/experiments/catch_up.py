"""Reading the whole change feed in pages of 1000 against reading the rows by SQL, page by page as well."""

import asyncio
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvloop

from benchmarks.bench import ALONE, Bench
from benchmarks.database import PostgresStore
from benchmarks.experiments.post import RATE
from benchmarks.fill import fill_ledger
from benchmarks.load import Load
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target, Violation
from benchmarks.side import LoadSide

PAGE = 1000
CONNECTIONS = 4
REQUIRED_RATE = 50_000
PATH = "/changes"
QUERY = "SELECT * FROM sync_events WHERE position > $1 ORDER BY position LIMIT $2"


@dataclass(kw_only=True)
class SqlSide:
    """The same rows, read by asyncpg over as many connections as the service's load, and not converted."""

    bench: Bench
    store: PostgresStore

    def __call__(self) -> Figures:
        """Measure once."""
        return {RATE: uvloop.run(self._read())}

    async def _read(self) -> float:
        """Rows per second."""
        starts = range(0, self.bench.plan.feed_rows, PAGE)
        connections = [await asyncpg.connect(self.store.url) for _ in range(CONNECTIONS)]
        ends_at = time.perf_counter() + self.bench.plan.load_seconds

        async def work(connection: Any) -> int:
            rows = 0
            while time.perf_counter() < ends_at:
                rows += len(await connection.fetch(QUERY, random.choice(starts), PAGE))  # noqa: S311 - no secret
            return rows

        started = time.perf_counter()
        rows = sum(await asyncio.gather(*map(work, connections)))
        seconds = time.perf_counter() - started
        await asyncio.gather(*(connection.close() for connection in connections))
        return rows / seconds


def fixed_rate() -> Figures:
    """The required rate, on any machine."""
    return {RATE: REQUIRED_RATE}


def note_pages(url: str, token: str, rows: int, path: Path) -> None:
    """Follow the feed once from its beginning, and write the query of every page to `path`.

    Raises:
        Violation: when the feed leaves out an event, or has one twice.
    """
    queries, positions = [f"?limit={PAGE}"], 0
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        while positions < rows:
            page = client.get(f"{PATH}{queries[-1]}").raise_for_status().json()
            seen = [change["position"] for change in page["changes"]]
            if seen != list(range(positions + 1, positions + PAGE + 1)):
                raise Violation(f"the feed is not whole after position {positions}")
            positions += PAGE
            queries.append(f"?limit={PAGE}&cursor={page['cursor']}")
    path.write_text("".join(f"{query}\n" for query in queries[:-1]))


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """One database of processed events, the service, and SQL."""
    with ExitStack() as stack:
        store = stack.enter_context(bench.postgres_store())
        fill_ledger(store, bench.plan.feed_rows, processed=True)
        service = stack.enter_context(bench.service(store, **ALONE))
        bench.wait_until_healthy()
        pages = bench.folder / "pages"
        note_pages(service.url, bench.token, bench.plan.feed_rows, pages)
        load = Load(path=PATH, tokens=bench.tokens, connections=CONNECTIONS, batch=PAGE, reads=pages)
        yield {
            "service": LoadSide(bench=bench, service=service, store=store, load=load),
            "SQL": SqlSide(bench=bench, store=store),
            "required": fixed_rate,
        }


EXPERIMENT = Experiment(
    name="catch-up",
    open=open_sides,
    rows=(
        Row(
            name="catch-up",
            work="GET /changes in pages of 1000, PostgreSQL, 1 worker, 4 connections",
            compared="asyncpg reading the same rows in pages of 1000, 4 connections",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("SQL", RATE),
            limit="PostgreSQL, which makes the JSON of each event, and the transfer of the bytes",
        ),
        Row(
            name="catch-up-rate",
            work="the same",
            compared="the required rate: 50,000 events/s",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("required", RATE),
            target=Target(kind="at least", bound=1.0),
            limit="as above",
        ),
    ),
)
