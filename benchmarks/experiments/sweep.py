"""The sweep of a backlog against pgqueuer draining as many jobs that do nothing."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.database import LEDGER, PostgresStore
from benchmarks.fill import fill_ledger
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target, Violation
from benchmarks.side import MILLION, THOUSAND
from benchmarks.usage import cpu_seconds

RATE = "events_per_second"


@dataclass(kw_only=True)
class SweepSide:
    """`Sweeper.run_once()` in a process of its own, over a fresh backlog each time."""

    bench: Bench
    store: PostgresStore

    def __call__(self) -> Figures:
        """Measure once."""
        rows = self.bench.plan.backlog_rows
        fill_ledger(self.store, rows, processed=False)
        wal, postgres = self.store.wal_bytes(), cpu_seconds(self.bench.postgres.pid)
        figures = drain(self.bench, "benchmarks.drain_ledger", self.store, rows)
        spent, written = cpu_seconds(self.bench.postgres.pid) - postgres, self.store.wal_bytes() - wal
        stored, unprocessed = self.store.row("SELECT count(*), count(*) FILTER (WHERE NOT processed) FROM sync_events")
        if unprocessed:
            raise Violation(f"{unprocessed} events are left after the sweep")
        return figures | {
            "postgres_cpu_seconds_per_1000": spent / rows * THOUSAND,
            "wal_bytes_per_million": written / rows * MILLION,
            "disk_bytes_per_million": self.store.table_bytes(LEDGER, "files") / stored * MILLION,
        }


@dataclass(kw_only=True)
class QueueSide:
    """pgqueuer in a process of its own, over a fresh queue each time."""

    bench: Bench
    store: PostgresStore

    def __call__(self) -> Figures:
        """Measure once."""
        rows = self.bench.plan.backlog_rows
        timed = rows // 4
        return drain(self.bench, "benchmarks.drain_queue", self.store, timed, str(rows), str(timed))


def drain(bench: Bench, module: str, store: PostgresStore, rows: int, *arguments: str) -> dict[str, float]:
    """The report of a draining process.

    Raises:
        Violation: when it did not take up `rows`.
    """
    said = json.loads(bench.python(module, store, *arguments).splitlines()[-1])
    if said["taken"] != rows:
        raise Violation(f"{module} took up {said['taken']} of {rows}")
    per_thousand = said["cpu_seconds"] / rows * THOUSAND
    return {RATE: rows / said["seconds"], "service_cpu_seconds_per_1000": per_thousand}


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """A ledger and a queue, on databases of their own."""
    with ExitStack() as stack:
        ledger, queue = (stack.enter_context(bench.postgres_store()) for _ in range(2))
        yield {
            "sweep": SweepSide(bench=bench, store=ledger),
            "pgqueuer": QueueSide(bench=bench, store=queue),
        }


EXPERIMENT = Experiment(
    name="sweep",
    open=open_sides,
    rows=(
        Row(
            name="sweep",
            work="sweep of a backlog, default handlers and batches",
            compared="pgqueuer draining as many no-op jobs",
            unit="events/s",
            ours=Pick("sweep", RATE),
            baseline=Pick("pgqueuer", RATE),
            target=Target(kind="at least", bound=2.5),
            limit="Python and PostgreSQL, which take turns on one connection",
        ),
    ),
)
