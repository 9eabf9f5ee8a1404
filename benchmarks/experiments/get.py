"""GET of one event against a route with the same authentication that reads nothing."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from benchmarks.bench import ALONE, Bench
from benchmarks.experiments.post import CONNECTIONS
from benchmarks.fill import fill_ledger
from benchmarks.load import Load
from benchmarks.model import Experiment, Pick, Row, Side, Target
from benchmarks.side import LoadSide

KNOWN_IDS = 5_000


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """Two services on one database of processed events."""
    with ExitStack() as stack:
        store = stack.enter_context(bench.postgres_store())
        fill_ledger(store, bench.plan.small_rows, processed=True)
        reads = bench.folder / "reads.ids"
        rows = store.rows("SELECT id FROM sync_events ORDER BY random() LIMIT $1", KNOWN_IDS)
        reads.write_text("".join(f"/{row[0]}\n" for row in rows))
        service = stack.enter_context(bench.service(store, **ALONE))
        noop = stack.enter_context(bench.baseline("noop_get", store))
        load = Load(path="/sync-events", tokens=bench.tokens, connections=CONNECTIONS, reads=reads)
        yield {
            "service": LoadSide(bench=bench, service=service, store=store, load=load),
            "no-op": LoadSide(bench=bench, service=noop, store=store, load=replace(load, path="/noop")),
        }


EXPERIMENT = Experiment(
    name="get",
    open=open_sides,
    rows=(
        Row(
            name="get",
            work="GET one event, PostgreSQL, 1 worker, 64 connections",
            compared="no-op GET with the same authentication",
            unit="requests/s",
            ours=Pick("service", "events_per_second"),
            baseline=Pick("no-op", "events_per_second"),
            target=Target(kind="at least", bound=0.5),
            limit="Python on one core: the rows of the requests that waited together, and the responses as JSON",
        ),
    ),
)
