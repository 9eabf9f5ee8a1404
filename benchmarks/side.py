"""A running service as a side of an experiment: load on it, what that cost, and whether it kept its promises."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

from benchmarks.bench import Bench
from benchmarks.database import LEDGER, PostgresStore, Store, check_answered, check_positions
from benchmarks.load import Answers, Load
from benchmarks.model import Figures, Violation
from benchmarks.usage import cpu_seconds
from tests.support.process import ServiceProcess

MILLION = 1_000_000
THOUSAND = 1_000


@dataclass(kw_only=True)
class LoadSide:
    """One service under `load`. Each call measures it and checks what it stored; the first one warms it up before.

    `table` is where its events are to be found; None for a service that stores nothing. `rows` is how many it
    must hold: those from before, and one for each answer.
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
        answers = self.run(plan.load_seconds)
        events = answers.succeeded * (self.load.batch or 1)
        figures = answers.model_dump() | {
            "events_per_second": events / answers.seconds,
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

    def run(self, seconds: int) -> Answers:
        """Load for so long, and check what was answered and stored.

        Raises:
            Violation: when an answer was not the expected one, or the database does not hold what was answered.
        """
        ids = None if self.load.reads else self.bench.folder / f"{uuid4().hex}.ids"
        answers = self.load.run(self.service.url, seconds, ids)
        if answers.failed or not answers.succeeded:
            raise Violation(f"{answers.failed} requests failed, {answers.succeeded} succeeded: {self.service.output()}")
        if ids is not None:
            self._check([UUID(line) for line in ids.read_text().split()])
            ids.unlink()
        return answers

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
