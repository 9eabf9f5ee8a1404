"""The suite still runs: real services under a short real load."""

from dataclasses import replace
from uuid import uuid4

import pytest
from rich.console import Console

from benchmarks.bench import Bench
from benchmarks.database import LEDGER, check_answered, check_positions
from benchmarks.experiments import consistency, post, webhooks
from benchmarks.fill import fill_ledger
from benchmarks.measure import measure
from benchmarks.model import Violation
from benchmarks.plan import Plan
from benchmarks.side import LoadSide
from tests.support.fork_server import ForkServer

TINY = Plan(rounds=1, warm_up_seconds=1, load_seconds=1, delivery_rows=50, checked_files=5_000, many_files=2_000)

pytestmark = pytest.mark.timeout(400)


@pytest.mark.long
@pytest.mark.wrk
def test_experiments_give_their_rows(fork_server: ForkServer) -> None:
    checks = [replace(one, rounds=1) for one in consistency.EXPERIMENTS]
    experiments = [webhooks.EXPERIMENT, *checks]
    results = measure(experiments, TINY, Console(quiet=True), fork_server)
    assert [row.name for row in results.rows] == [row.name for one in experiments for row in one.rows]
    assert all(min(*row.ours, *row.baseline) > 0 for row in results.rows)
    [ratio, *_] = results.rows
    assert ratio.value == ratio.ours[0] / ratio.baseline[0]


@pytest.mark.long
@pytest.mark.wrk
def test_what_was_not_stored_fails_the_run(fork_server: ForkServer) -> None:
    with (
        Bench(TINY, fork_server=fork_server) as bench,
        bench.postgres_store() as store,
        bench.service(store) as service,
    ):
        bench.wait_until_healthy()
        side = LoadSide(bench=bench, service=service, store=store, load=post.single_posts(bench))
        figures = side()
        assert figures["events_per_second"] > 0
        assert figures["failed"] == 0
        assert figures["p50_ms"] > 0
        stored, _files = store.summary(LEDGER)
        with pytest.raises(Violation, match="1 of 1 confirmed events are not stored"):
            check_answered(store, LEDGER, [uuid4()], rows=range(stored + 1))
        store.execute("UPDATE sync_events SET file_id = (SELECT file_id FROM sync_events WHERE position = 1)")
        with pytest.raises(Violation, match="more than once"):
            check_answered(store, LEDGER, [], rows=range(stored + 1))
        with pytest.raises(Violation, match=f"{stored} events are stored, expected 0 to 0"):
            check_answered(store, LEDGER, [], rows=range(1))
        store.execute("DELETE FROM sync_events WHERE position = 2")
        with pytest.raises(Violation, match=f"{stored - 1} events and its last position is {stored}"):
            check_positions(store)
        fill_ledger(store, 10, processed=False)
        assert store.extent() == (stored + 9, stored + 10)
