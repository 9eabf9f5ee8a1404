"""A running service as a side of an experiment: load on it, its cost, and the check of its promises."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

from benchmarks.bench import Bench
from benchmarks.database import LEDGER, PostgresStore, Store, check_answered, check_positions
from benchmarks.load import Load, LoadResult
from benchmarks.model import Figures, Violation
from benchmarks.usage import cpu_seconds
from tests.support.process import ServiceProcess

MILLION = 1_000_000
THOUSAND = 1_000


@dataclass(kw_only=True)
class LoadSide:
    """One service under `load`. Each call measures it and checks the stored events; the first one warms it up before.

    `table` has its events; None for a service that stores nothing. `rows` is the expected number of rows: the
    earlier ones, and one for each response.
    """

    bench: Bench
    service: ServiceProcess
    store: Store
    load: Load
    table: str | None = LEDGER
    rows: int = 0
    _warm: bool = False
    _under_way: int = field(default=0)

    def __call__(self) -> Figures:
        """Measure once."""
        plan = self.bench.plan
        if not self._warm:
            self.run(plan.warm_up_seconds)
            self._warm = True
        with_postgres = isinstance(self.store, PostgresStore)
        wal = self.store.wal_bytes() if isinstance(self.store, PostgresStore) else 0
        service, postgres = cpu_seconds(self.service.pid), cpu_seconds(self.bench.postgres.pid)
        result = self.run(plan.load_seconds)
        events = result.succeeded * (self.load.batch or 1)
        figures = result.model_dump() | {
            "events_per_second": events / result.seconds,
            "service_cpu_seconds_per_1000": (cpu_seconds(self.service.pid) - service) / events * THOUSAND,
        }
        if with_postgres:
            spent = cpu_seconds(self.bench.postgres.pid) - postgres
            figures["postgres_cpu_seconds_per_1000"] = spent / events * THOUSAND
        if isinstance(self.store, PostgresStore) and self.table is not None and self.load.reads is None:
            stored, _files = self.store.summary(self.table)
            figures["wal_bytes_per_million"] = (self.store.wal_bytes() - wal) / events * MILLION
            figures["disk_bytes_per_million"] = self.store.table_bytes(self.table) / stored * MILLION
        return figures

    def run(self, seconds: int) -> LoadResult:
        """Load for so long, and check the responses and the stored events.

        Raises:
            Violation: a response was not the expected one, or the database lacks a confirmed event.
        """
        ids = None if self.load.reads else self.bench.folder / f"{uuid4().hex}.ids"
        result = self.load.run(self.service.url, seconds, ids)
        if result.failed or not result.succeeded:
            raise Violation(f"{result.failed} requests failed, {result.succeeded} succeeded: {self.service.output()}")
        if ids is not None:
            self._check([UUID(line) for line in ids.read_text().split()])
            ids.unlink()
        return result

    def _check(self, ids: list[UUID]) -> None:
        if self.table is None:
            stored, _files = self.store.summary(LEDGER)
            if stored:
                raise Violation("a service that should store nothing stored something")
            return
        size = self.load.batch or 1
        self.rows += len(ids)
        self._under_way += self.load.connections * size
        rows = range(self.rows, self.rows + self._under_way + 1)
        check_answered(self.store, self.table, ids, rows=rows)
        if self.table == LEDGER:
            check_positions(self.store)
