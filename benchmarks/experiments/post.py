"""POST of single events on PostgreSQL, one worker: against the same without its append, and against a textbook."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.model import Experiment, Pick, Row, Side, Target
from benchmarks.side import LoadSide

CONNECTIONS = 64
RATE = "events_per_second"
TEXTBOOK_TABLE = "textbook_events"
WORK = "POST one event, PostgreSQL, 1 worker, 64 connections"


def single_posts(bench: Bench, delay_ms: int = 0) -> Load:
    """Single events from 64 connections."""
    return Load(path="/sync-events", token=bench.token, connections=CONNECTIONS, delay_ms=delay_ms)


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """Four services, each on a database of its own."""
    with ExitStack() as stack:
        stores = [stack.enter_context(bench.postgres_store()) for _ in range(4)]
        plain, without, textbook, bare = (
            stack.enter_context(context)
            for context in (
                bench.service(stores[0]),
                bench.baseline("no_append", stores[1]),
                bench.baseline("textbook", stores[2]),
                bench.baseline("bare", stores[3]),
            )
        )
        load = single_posts(bench)
        yield {
            "service": LoadSide(bench=bench, service=plain, store=stores[0], load=load),
            "no append": LoadSide(bench=bench, service=without, store=stores[1], load=load, table=None),
            "textbook": LoadSide(bench=bench, service=textbook, store=stores[2], load=load, table=TEXTBOOK_TABLE),
            "bare": LoadSide(bench=bench, service=bare, store=stores[3], load=load, table=None),
        }


EXPERIMENT = Experiment(
    name="post",
    open=open_sides,
    rows=(
        Row(
            name="post",
            work=WORK,
            compared="the same without the append",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("no append", RATE),
            target=Target(kind="at least", bound=0.75),
            limit="Python on the worker's one core: HTTP, token, validation; group commit adds the rest",
        ),
        Row(
            name="post-textbook",
            work=WORK,
            compared="textbook service: decode, ORM add, commit per request",
            unit="events/s",
            ours=Pick("service", RATE),
            baseline=Pick("textbook", RATE),
            target=Target(kind="at least", bound=10),
            limit="as above; the textbook: signature, ORM and a commit for each request",
        ),
        Row(
            name="post-bare",
            work="the most that a service on FastAPI does here: one bare custom route, no token, no database",
            compared="textbook service: decode, ORM add, commit per request",
            unit="events/s",
            ours=Pick("bare", RATE),
            baseline=Pick("textbook", RATE),
            limit="uvicorn, Starlette and FastAPI on one core",
        ),
    ),
)
