"""POST of single events on SQLite against a textbook service on SQLite."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.bench import Bench
from benchmarks.experiments.post import RATE, TEXTBOOK_TABLE, single_posts
from benchmarks.model import Experiment, Pick, Row, Side, Target
from benchmarks.side import LoadSide


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """Two services, each on a file of its own, both in WAL mode with `synchronous = FULL`."""
    with ExitStack() as stack:
        stores = [stack.enter_context(bench.sqlite_store()) for _ in range(2)]
        service = stack.enter_context(bench.service(stores[0]))
        textbook = stack.enter_context(bench.baseline("textbook", stores[1]))
        load = single_posts(bench)
        yield {
            "service": LoadSide(bench=bench, service=service, store=stores[0], load=load),
            "textbook": LoadSide(bench=bench, service=textbook, store=stores[1], load=load, table=TEXTBOOK_TABLE),
        }


EXPERIMENT = Experiment(
    name="sqlite",
    open=open_sides,
    rows=(
        Row(
            name="sqlite",
            work="POST one event, SQLite, 1 worker, 64 connections",
            compared="textbook service on SQLite",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("textbook", RATE),
            target=Target(kind="at least", bound=10),
            limit="Python on one core, with SQLite's thread; the textbook: one writer at a time, a flush each",
        ),
    ),
)
