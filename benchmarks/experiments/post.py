"""POST of single events on PostgreSQL, one worker: against Fastify with `pg`, with the default log and without."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from benchmarks.bench import QUIET, Bench
from benchmarks.fill import create_twin
from benchmarks.load import Load
from benchmarks.model import Experiment, Pick, Row, Side, Target
from benchmarks.services.fastify import why_missing
from benchmarks.side import LoadSide

CONNECTIONS = 64
RATE = "events_per_second"
PEER_TABLE = "peer_events"
ROUNDS = 5


def single_posts(bench: Bench) -> Load:
    """Single events from 64 connections."""
    return Load(path="/sync-events", tokens=bench.tokens, connections=CONNECTIONS)


def open_beside_fastify(workers: int) -> Callable[[Bench], AbstractContextManager[Mapping[str, Side]]]:
    """How to open the sides for so many workers."""

    @contextmanager
    def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
        """The service with and without its log, and Fastify where it can run, each on a database of its own."""
        number = str(workers)
        with ExitStack() as stack:
            stores = [stack.enter_context(bench.postgres_store()) for _ in range(3)]
            quiet = stack.enter_context(bench.service(stores[0], WEB_CONCURRENCY=number, **QUIET))
            default = stack.enter_context(bench.service(stores[1], WEB_CONCURRENCY=number))
            load = single_posts(bench)
            sides = {
                "service": LoadSide(bench=bench, service=quiet, store=stores[0], load=load),
                "default": LoadSide(bench=bench, service=default, store=stores[1], load=load),
            }
            if why_missing() is None:
                create_twin(stores[2], PEER_TABLE)
                peer = stack.enter_context(bench.fastify(stores[2], PEER_TABLE, workers=workers))
                sides["fastify"] = LoadSide(bench=bench, service=peer, store=stores[2], load=load, table=PEER_TABLE)
            yield sides

    return open_sides


def beside_fastify(name: str, side: str, work: str, bound: float, limit: str) -> Row:
    """The row of one of our sides."""
    return Row(
        name=name,
        work=work,
        compared="Fastify with pg, JSON schema and fast-jwt: an insert a request, no log, as many workers",
        unit="events/s",
        ours=Pick(side, RATE),
        baseline=Pick("fastify", RATE),
        target=Target(kind="at least", bound=bound),
        limit=limit,
    )


WORK = "POST one event, PostgreSQL, 1 worker, 64 connections"
EXPERIMENT = Experiment(
    name="post",
    open=open_beside_fastify(1),
    rounds=ROUNDS,
    rows=(
        beside_fastify(
            "post", "service", f"{WORK}, LOG_LEVEL=WARNING", 0.70, "Python on one core: HTTP, token, validation"
        ),
        beside_fastify(
            "post-default", "default", f"{WORK}, default settings", 0.66, "as above, and a line of log each"
        ),
        Row(
            name="log",
            work=f"{WORK}, default settings",
            compared="the same with LOG_LEVEL=WARNING",
            unit="events/s",
            ours=Pick("default", RATE),
            baseline=Pick("service", RATE),
            target=Target(kind="at least", bound=0.94),
            limit="making and writing a line of JSON for each request",
        ),
    ),
)
