"""POST of single events on SQLite beside PostgreSQL."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.bench import QUIET, Bench
from benchmarks.experiments.post import RATE, single_posts
from benchmarks.model import Experiment, Pick, Row, Side
from benchmarks.side import LoadSide


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """A service on a file in WAL mode with `synchronous = FULL`, and one on PostgreSQL."""
    with ExitStack() as stack:
        file, server = stack.enter_context(bench.sqlite_store()), stack.enter_context(bench.postgres_store())
        on_file = stack.enter_context(bench.service(file, **QUIET))
        on_server = stack.enter_context(bench.service(server, **QUIET))
        load = single_posts(bench)
        yield {
            "service": LoadSide(bench=bench, service=on_file, store=file, load=load),
            "PostgreSQL": LoadSide(bench=bench, service=on_server, store=server, load=load),
        }


EXPERIMENT = Experiment(
    name="sqlite",
    open=open_sides,
    rows=(
        Row(
            name="sqlite",
            work="POST one event, SQLite, 1 worker, 64 connections, LOG_LEVEL=WARNING",
            compared="the same on PostgreSQL",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("PostgreSQL", RATE),
            limit="Python on one core, with SQLite's thread",
        ),
    ),
)
