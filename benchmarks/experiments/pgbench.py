"""POST of single events with two workers against pgbench inserting into a table with the same indexes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.bench import ALONE, Bench
from benchmarks.database import PostgresStore
from benchmarks.experiments.post import CONNECTIONS, RATE, single_posts
from benchmarks.fill import create_twin
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target
from benchmarks.side import LoadSide

THREADS = 2
TWIN = "pgbench_events"
INSERT = f"""
INSERT INTO {TWIN} (id, position, file_id, event_type, created_at, metadata, created_by)
VALUES (uuidv7(), nextval('{TWIN}_position'), gen_random_uuid(), 'upload', clock_timestamp(),
        '{{"path":"reports/1.pdf","size":5242880}}', 'chunker@clients');
"""  # noqa: S608 - no input


@dataclass(kw_only=True)
class PgbenchSide:
    """64 clients that insert one row per transaction as prepared statements."""

    bench: Bench
    store: PostgresStore

    def __call__(self) -> Figures:
        """Measure once."""
        script = self.bench.folder / "insert.sql"
        script.write_text(INSERT)
        script.chmod(0o644)
        self._run(script.as_posix(), self.bench.plan.warm_up_seconds)
        [before] = self.store.row(f"SELECT count(*) FROM {TWIN}")  # noqa: S608
        self._run(script.as_posix(), self.bench.plan.load_seconds)
        [after] = self.store.row(f"SELECT count(*) FROM {TWIN}")  # noqa: S608
        return {RATE: (after - before) / self.bench.plan.load_seconds}

    def _run(self, script: str, seconds: int) -> str:
        clients = ("-c", str(CONNECTIONS), "-j", str(THREADS), "-M", "prepared", "-n", "-T", str(seconds))
        return self.bench.postgres.run("pgbench", *clients, "-f", script, self.store.url)


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """The service with two workers, and pgbench on a database of its own."""
    with ExitStack() as stack:
        stores = [stack.enter_context(bench.postgres_store()) for _ in range(2)]
        create_twin(stores[1], TWIN)
        service = stack.enter_context(bench.service(stores[0], **ALONE, WEB_CONCURRENCY="2"))
        yield {
            "service": LoadSide(bench=bench, service=service, store=stores[0], load=single_posts(bench)),
            "pgbench": PgbenchSide(bench=bench, store=stores[1]),
        }


EXPERIMENT = Experiment(
    name="pgbench",
    open=open_sides,
    rows=(
        Row(
            name="pgbench",
            work="POST one event, PostgreSQL, 2 workers, 64 connections",
            compared="pgbench: single-row inserts, same table and indexes, 64 clients",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("pgbench", RATE),
            target=Target(kind="at least", bound=0.45),
            limit="two cores that workers, PostgreSQL and the load generator share",
        ),
    ),
)
