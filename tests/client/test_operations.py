"""Every operation of the client with asyncio and without it, against one real service in local mode."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.auth.token import Scope
from sync_client import (
    BlockingSyncClient,
    Conflict,
    CursorFile,
    Exchange,
    Forbidden,
    InvalidCall,
    NewEvent,
    NotFound,
    PreconditionFailed,
    SyncClient,
    SyncError,
)
from tests.client.conftest import Local, mint, set_aside, until
from tests.client.face import Face
from tests.consistency.owner import Owner
from tests.support.receiver import Receiver

OPERATIONS = ("events", "files", "changes", "subscriptions", "deliveries", "consistency")


@pytest.fixture(params=[False, True], ids=["asyncio", "blocking"])
def face(request: pytest.FixtureRequest, local: Local) -> Iterator[Face]:
    """Each client in turn."""
    face = Face(local.url, local.token, blocking=request.param)
    yield face
    face.close()


def test_events_are_recorded_read_and_listed(face: Face) -> None:
    sync, do, file_id = face.client, face.do, uuid4()
    created = do(sync.create(file_id, "upload", {"path": "ä"}, idempotency_key=str(file_id)))
    again = do(sync.events.create(file_id, "upload", {"path": "ä"}, idempotency_key=str(file_id)))
    assert (again.event_id, again.replayed) == (created.event_id, True)
    ids = do(sync.create_many(NewEvent(file_id, "update") for _ in range(250)))
    assert do(sync.get(created.event_id)).metadata == {"path": "ä"}
    newest_first = [*reversed(ids), created.event_id]
    assert [event.event_id for event in face.take(sync.list(file_id=file_id))] == newest_first
    history = face.take(sync.files.history(file_id))
    assert [event.event_id for event in history] == newest_first[::-1]
    state = until(lambda: (found := do(sync.files.state(file_id))).pending_events == 0 and found)
    assert (state.state, state.revision, state.last_event_id) == ("present", 251, ids[-1])


def test_the_feed_is_followed_and_read_to_its_end(face: Face, tmp_path: Path) -> None:
    sync, file_id = face.client, uuid4()
    face.do(sync.create_many(NewEvent(file_id, "upload") for _ in range(3)))
    everything = face.take(sync.changes.pages())
    assert not everything[-1].has_more
    positions = [change.position for page in everything for change in page.changes]
    assert positions == list(range(1, len(positions) + 1))
    [rest] = face.take(sync.changes.pages(everything[-1].cursor))
    assert rest.changes == ()
    store = CursorFile(tmp_path / "cursor")
    first = face.take(sync.follow(store=store, file_id=file_id), 2)
    second = face.take(sync.follow(store=store, file_id=file_id), 2)
    assert [change.position - first[0].position for change in (*first, *second)] == [0, 1, 1, 2]


def test_a_set_aside_event_is_requeued(face: Face, local: Local) -> None:
    created = face.do(face.client.create(uuid4(), "upload"))
    until(lambda: face.do(face.client.get(created.event_id)).processed)
    with pytest.raises(Conflict):
        face.do(face.client.events.requeue(created.event_id))
    set_aside(local, created.event_id, error="KeyError: a")
    assert face.do(face.client.get(created.event_id)).state == "failed"
    assert face.do(face.client.events.requeue(created.event_id)).state == "retrying"


def test_set_aside_events_are_requeued_in_bulk(face: Face, local: Local) -> None:
    events, do, error = face.client.events, face.do, f"KeyError: {uuid4()}"
    ids = do(events.create_many(NewEvent(uuid4(), "upload") for _ in range(3)))
    until(lambda: do(events.get(ids[-1])).processed)
    set_aside(local, *ids, error=error)
    [group] = [one for one in do(events.set_aside()).groups if one.last_error == error]
    positions = [do(events.get(one)).position for one in ids]
    assert (group.events, group.newest_position) == (3, positions[-1])
    assert (group.next.up_to_position, group.next.expected) == (positions[-1], 3)
    with pytest.raises(Conflict, match="3 set-aside events"):
        do(events.requeue_matching(up_to_position=positions[-1], expected=4, last_error=error))
    one = {"event_ids": ids, "event_type": "upload", "file_id": do(events.get(ids[0])).file_id}
    assert do(events.requeue_matching(up_to_position=positions[-1], expected=1, last_error=error, **one)) == 1
    assert do(events.requeue_matching(up_to_position=positions[1], expected=1, last_error=error)) == 1
    assert [do(events.get(one)).last_error for one in ids] == [error] * 3
    assert do(events.get(ids[-1])).state == "failed"
    assert do(events.requeue_matching(up_to_position=positions[-1], expected=1, last_error=error)) == 1


def test_consistency_is_checked_and_repaired(face: Face, owner: Owner) -> None:
    sync, do = face.client, face.do
    source = do(sync.consistency.add_source("owner", owner.url, headers={"X-A": "1"}, grace_seconds=0))
    try:
        kept, lost = uuid4(), uuid4()
        owner.put(kept)  # before the event's own check can ask for it
        ids = do(sync.create_many(NewEvent(one, "upload") for one in (kept, lost)))
        until(lambda: do(sync.get(ids[-1])).processed)
        assert do(sync.consistency.test_source(source.id)).ok
        assert source in do(sync.consistency.sources())
        changed = do(sync.consistency.change_source(source.id, name="store", headers=None))
        assert (changed.name, changed.header_names, do(sync.consistency.get_source(source.id))) == (
            "store",
            (),
            changed,
        )
        seen: list[Any] = []
        begun = do(sync.consistency.check(source.id, [kept, str(lost)]))
        check = do(sync.consistency.wait(begun.id, poll_seconds=0.02, on_progress=seen.append))
        assert (check.state, check.of, check.counts, seen[-1]) == ("complete", 2, {"missing": 1}, check)
        assert [one.id for one in face.take(sync.consistency.checks(source=source.id))] == [check.id]
        assert do(sync.consistency.get_check(check.id)) == check
        with pytest.raises(Conflict):
            do(sync.consistency.cancel_check(check.id))
        verdict = do(sync.files.consistency(lost, refresh=True))
        assert {one.source: one.verdict for one in verdict.sources}[source.id] == "inconsistent"
        [finding] = face.take(sync.consistency.findings(source=source.id, kind="missing", file_id=lost))
        plan = do(sync.consistency.plan_repair("redeliver", source=source.id, file_id=lost))
        assert (plan.action, [one.id for one in plan.findings]) == ("redeliver", [finding.id])
        applied = do(sync.consistency.apply_repair(plan))
        assert [one.finding for one in applied.results] == [finding.id]
        assert do(sync.consistency.apply_repair(plan)) == applied
        with pytest.raises(PreconditionFailed):
            do(sync.consistency.apply_repair(plan.model_copy(update={"digest": "0"})))
        with pytest.raises(Conflict):
            do(sync.consistency.accept_matching("known", expected=2, source=source.id, file_id=lost))
        assert do(sync.consistency.accept(finding.id, "known")).state == "accepted"
        assert do(sync.consistency.accept_matching("known", expected=0, source=source.id, file_id=lost)) == 0
    finally:
        do(sync.consistency.delete_source(source.id))
    with pytest.raises(NotFound):
        do(sync.consistency.get_source(source.id))


def test_the_overview_and_the_throughput(face: Face) -> None:
    sync, do = face.client, face.do
    do(sync.create(uuid4(), "upload"))
    overview = do(sync.overview())
    assert overview.head_position > 0
    assert set(overview.subscriptions) == {"active", "paused", "disabled"}
    now = datetime.now(UTC)
    buckets = do(sync.throughput(now - timedelta(hours=1), now + timedelta(minutes=1), buckets=2))
    assert sum(one.events for one in buckets) == overview.head_position
    assert buckets[0].end == buckets[1].start


def test_subscriptions_are_managed(face: Face, receiver: Receiver) -> None:
    subscriptions, do = face.client.subscriptions, face.do
    created = do(subscriptions.create(receiver.url, description="a", event_types=["upload"], headers={"X-A": "1"}))
    assert created.secret.startswith("whsec_")
    found = do(subscriptions.get(created.id))
    assert (found.etag, found.header_names, found.event_types) == (created.etag, ("X-A",), ("upload",))
    changed = do(subscriptions.change(created.id, if_match=found.etag, headers={"X-A": None}, max_concurrency=3))
    assert (changed.header_names, changed.max_concurrency) == ((), 3)
    with pytest.raises(PreconditionFailed):
        do(subscriptions.change(created.id, if_match=found.etag, description="b"))
    assert do(subscriptions.pause(created.id)).status == "paused"
    assert created.id in [one.id for one in face.take(subscriptions.list(status="paused"))]
    assert do(subscriptions.resume(created.id)).status == "active"
    ping = do(subscriptions.test(created.id))
    assert (ping.outcome, ping.status_code) == ("failed", 500)
    assert do(subscriptions.rotate_secret(created.id)).secret != created.secret
    event_id = do(face.client.create(uuid4(), "upload")).event_id
    # Only what had its first delivery can be replayed.
    until(lambda: face.take(face.client.deliveries.list(created.id, status="dead")))
    assert event_id in [one.event_id for one in face.take(face.client.deliveries.list(created.id))]
    do(subscriptions.replay(created.id, from_time=datetime.now(UTC) - timedelta(days=1)))
    assert do(subscriptions.end_replay(created.id)) is None
    do(subscriptions.delete(created.id))
    with pytest.raises(NotFound):
        do(subscriptions.get(created.id))


def test_deliveries_are_listed_and_redelivered(face: Face, receiver: Receiver) -> None:
    deliveries, do, file_id = face.client.deliveries, face.do, uuid4()
    subscription = do(face.client.subscriptions.create(receiver.url))
    event_id = do(face.client.create(file_id, "upload")).event_id
    [dead] = until(lambda: face.take(deliveries.list(subscription.id, status="dead", file_id=file_id)))
    of_event = face.take(deliveries.list_of_event(event_id))
    assert [one.id for one in of_event if one.subscription_id == subscription.id] == [dead.id]
    history = do(deliveries.get(dead.id)).history
    assert [attempt.status_code for attempt in history] == [500]
    assert do(deliveries.redeliver(dead.id)).status == "pending"
    until(lambda: face.take(deliveries.list(subscription.id, status="dead")))
    bulk = {"up_to_position": dead.position, "delivery_ids": [dead.id], "file_id": file_id}
    with pytest.raises(Conflict):
        do(deliveries.redeliver_matching(subscription.id, expected=2, **bulk))
    assert do(deliveries.redeliver_matching(subscription.id, expected=1, **bulk)) == 1
    until(lambda: face.take(deliveries.list(subscription.id, status="dead")))
    assert do(deliveries.redeliver_dead(subscription.id)).redelivered == 1
    do(face.client.subscriptions.delete(subscription.id))


def test_health_needs_no_token(local: Local, face: Face) -> None:
    stranger = Face(local.url, "wrong", blocking=face.blocking)
    health = until(lambda: (found := stranger.do(stranger.client.health())).database == "connected" and found)
    assert (health.service, health.status, health.writes) == ("sync-service", "healthy", "accepted")
    with pytest.raises(SyncError):
        stranger.do(stranger.client.get(uuid4()))
    stranger.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda sync: sync.get("xyz"),
        lambda sync: sync.events.requeue("../health"),
        lambda sync: sync.files.state("xyz"),
        lambda sync: sync.subscriptions.delete("xyz"),
        lambda sync: sync.deliveries.get("x"),
        lambda sync: sync.files.consistency("xyz"),
        lambda sync: sync.events.requeue_matching(up_to_position=1, expected=1, event_ids=["xyz"]),
        lambda sync: sync.deliveries.redeliver_matching("xyz", up_to_position=1, expected=1),
        lambda sync: sync.consistency.check("xyz"),
        lambda sync: sync.consistency.accept_matching("known", expected=1, file="xyz"),
        lambda sync: sync.create(uuid4(), "upload", {"a": object()}),
        lambda sync: sync.create(uuid4(), "upload", {"a": float("nan")}),
        lambda sync: sync.create(uuid4(), "upload", {"a": "\ud800"}),
        lambda sync: sync.create(uuid4(), "upload", idempotency_key="a\nb"),
    ],
)
def test_a_wrong_call_is_a_sync_error(face: Face, call: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidCall):
        face.do(call(face.client))


def test_a_closed_client_and_a_bad_address_are_sync_errors(local: Local, face: Face) -> None:
    closed = Face(local.url, "token", blocking=face.blocking)
    closed.do(closed.client.close() if face.blocking else closed.client.aclose())
    with pytest.raises(InvalidCall, match="closed"):
        closed.do(closed.client.get(uuid4()))
    closed.close()
    for address in ("ftp://x", "localhost:8000", "http://", "http://x:port"):
        with pytest.raises(InvalidCall):
            Face(address, "token", blocking=face.blocking)
    with pytest.raises(InvalidCall, match="token"):
        Face(local.url, "two words", blocking=face.blocking)


def test_exchanges_are_reported_and_connections_reused(local: Local, face: Face) -> None:
    seen: list[Exchange] = []
    observed = Face(local.url, local.token, blocking=face.blocking, on_exchange=seen.append)
    with pytest.raises(NotFound) as unknown:
        observed.do(observed.client.get(UUID(int=7)))
    observed.take(observed.client.list(state="failed"))
    assert [(one.method, one.path, one.status) for one in seen] == [
        ("GET", f"/sync-events/{UUID(int=7)}", 404),
        ("GET", "/sync-events", 200),
    ]
    assert seen[0].request_id == unknown.value.request_id
    pool = observed.client.face.http._transport._pool
    assert len(pool.connections) == 1
    observed.close()


def test_both_clients_have_the_same_operations() -> None:
    clients: list[Any] = [SyncClient("http://x", "t"), BlockingSyncClient("http://x", "t")]

    def names(thing: Any) -> set[str]:
        return {name for name in dir(thing) if not name.startswith("_")}

    for group in OPERATIONS:
        ours, theirs = (getattr(client, group) for client in clients)
        assert names(ours) == names(theirs)
        assert all(getattr(ours, name).__doc__ for name in names(ours) - {"face"})
    assert names(clients[0]) - {"aclose"} == names(clients[1]) - {"close"}


def test_the_blocking_client_takes_plain_callables_alone(local: Local) -> None:
    async def token() -> str:
        return local.token

    with BlockingSyncClient(local.url, token) as sync, pytest.raises(InvalidCall, match="plain functions"):
        sync.get(uuid4())
    with BlockingSyncClient(local.url, lambda: local.token) as sync:
        threads = [threading.Thread(target=sync.create, args=(uuid4(), "upload")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert next(sync.list()).event_type == "upload"


def test_a_read_only_token_is_forbidden(local: Local) -> None:
    with (
        BlockingSyncClient(local.url, mint("reader", Scope.READ)) as sync,
        pytest.raises(Forbidden, match="admin:sync"),
    ):
        next(sync.subscriptions.list())
