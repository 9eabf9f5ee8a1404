"""POST of single events on PostgreSQL, one worker: against the same without its append."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.bench import ALONE, Bench
from benchmarks.experiments.post import RATE, single_posts
from benchmarks.model import Experiment, Pick, Row, Side, Target
from benchmarks.side import LoadSide


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """Two services, each on a database of its own."""
    with ExitStack() as stack:
        stores = [stack.enter_context(bench.postgres_store()) for _ in range(2)]
        service = stack.enter_context(bench.service(stores[0], **ALONE))
        without = stack.enter_context(bench.baseline("no_append", stores[1]))
        load = single_posts(bench)
        yield {
            "service": LoadSide(bench=bench, service=service, store=stores[0], load=load),
            "no append": LoadSide(bench=bench, service=without, store=stores[1], load=load, table=None),
        }


EXPERIMENT = Experiment(
    name="append",
    open=open_sides,
    rows=(
        Row(
            name="append",
            work="POST one event, PostgreSQL, 1 worker, 64 connections, no log, no sweep",
            compared="the same without the append",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("no append", RATE),
            target=Target(kind="at least", bound=0.75),
            limit="Python on the worker's one core: HTTP, token, validation; group commit adds the rest",
        ),
    ),
)
