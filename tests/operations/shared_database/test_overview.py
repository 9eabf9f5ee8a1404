"""`GET /overview` and `GET /throughput`: exact over replicas, bounded, and refused when they make no sense."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from app.consistency.models import Finding, FindingState, Kind, Source
from app.database.engine import Database
from app.events.models import RetryState
from app.main import create_app
from app.operations.repository import MAX_COUNTED
from app.subscriptions.models import Delivery, DeliveryStatus, SubscriptionStatus
from tests.conftest import MakeSettings
from tests.deliveries.support import add_subscription
from tests.events.support import NOW, write_events
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

NONE = {"count": 0, "backlog": 0, "oldest_pending_age_seconds": None}
EMPTY = {
    "head_position": 0,
    "events_per_second": 0,
    "clock_ahead_seconds": None,
    "backlog": 0,
    "oldest_unprocessed_age_seconds": 0,
    "set_aside": 0,
    "subscriptions": {"active": NONE, "paused": NONE, "disabled": NONE},
    "open_findings": 0,
    "audit": None,
    "version": "1.0.0",
}


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test may run minutes after this module was imported."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


async def get(client: httpx.AsyncClient, url: str = "/overview", **query: Any) -> Any:
    answer = await client.get(url, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_of_an_empty_ledger_every_field_is_there(client: httpx.AsyncClient) -> None:
    overview = await get(client)
    assert ":" in overview.pop("replica")
    assert overview == EMPTY


async def test_the_rate_is_of_the_last_minute(client: httpx.AsyncClient, database: Database) -> None:
    await write_events(database, [NOW - timedelta(seconds=75)] * 7 + [NOW - timedelta(seconds=30)] * 30)
    overview = await get(client)
    assert overview["events_per_second"] == 0.5
    assert (overview["head_position"], overview["backlog"]) == (37, 37)
    assert 75 <= overview["oldest_unprocessed_age_seconds"] < 120


async def test_no_rate_while_the_clock_is_behind_the_ledger(client: httpx.AsyncClient, database: Database) -> None:
    await write_events(database, [NOW, NOW + timedelta(hours=1)])
    overview = await get(client)
    assert overview["events_per_second"] is None
    assert 3400 < overview["clock_ahead_seconds"] <= 3600


async def test_what_is_set_aside_is_no_backlog(client: httpx.AsyncClient, database: Database) -> None:
    await write_events(database, [NOW] * 3, retry_state=RetryState.FAILED, attempts=5, last_error="ValueError: no")
    await client.post("/sync-events", json={"file_id": str(uuid4()), "event_type": "upload"})
    overview = await get(client)
    assert (overview["set_aside"], overview["head_position"]) == (3, 4)


async def test_subscriptions_by_status(client: httpx.AsyncClient, database: Database) -> None:
    await write_events(database, [NOW] * 10)
    await add_subscription(database, after=4, status=SubscriptionStatus.PAUSED)
    await add_subscription(database, after=0, status=SubscriptionStatus.DISABLED)
    await add_subscription(database, after=0, status=SubscriptionStatus.DELETED)
    ids = [await add_subscription(database) for _ in range(2)]
    async with database.transaction() as session:
        for subscription_id in ids:
            for position, status in (
                (8, DeliveryStatus.PENDING),
                (9, DeliveryStatus.PENDING),
                (7, DeliveryStatus.DEAD),
            ):
                at = NOW - timedelta(seconds=100 - position)
                session.add(
                    Delivery(
                        subscription_id=subscription_id,
                        position=position,
                        file_id=uuid4(),
                        status=status,
                        created_at=at,
                    )
                )
    found = (await get(client))["subscriptions"]
    assert 92 <= found["active"].pop("oldest_pending_age_seconds") < 120
    assert found["active"] == {"count": 2, "backlog": 4}
    assert found["paused"] == {"count": 1, "backlog": 6, "oldest_pending_age_seconds": None}
    assert found["disabled"] == {"count": 1, "backlog": 10, "oldest_pending_age_seconds": None}


async def test_open_findings_of_sources_that_are_there(client: httpx.AsyncClient, database: Database) -> None:
    seen = {"first_seen_at": NOW, "last_seen_at": NOW, "evidence": {}, "kind": Kind.MISSING}
    async with database.transaction() as session:
        for deleted in (False, True):
            source = Source(id=uuid7(), name="m", kind="files", url="http://m", grace_seconds=1, enabled=True)
            source.deleted, source.created_at = deleted, NOW
            session.add(source)
            await session.flush()
            session.add_all(
                Finding(id=uuid7(), source_id=source.id, file_id=uuid4(), state=state, **seen) for state in FindingState
            )
    assert (await get(client))["open_findings"] == 1


async def test_buckets_are_half_open_and_contiguous(client: httpx.AsyncClient, database: Database) -> None:
    start = datetime(2026, 1, 15, 10, tzinfo=UTC)
    minutes = (-1, 0, 0.5, 1, 1, 2.999, 3, 4)
    await write_events(database, [start + timedelta(minutes=one) for one in minutes])
    query = {"from": "2026-01-15T11:00:00+01:00", "to": "2026-01-15T10:03:00Z", "buckets": 3}
    buckets = (await get(client, "/throughput", **query))["buckets"]
    assert buckets == [
        {"from": "2026-01-15T10:00:00Z", "to": "2026-01-15T10:01:00Z", "events": 2},
        {"from": "2026-01-15T10:01:00Z", "to": "2026-01-15T10:02:00Z", "events": 2},
        {"from": "2026-01-15T10:02:00Z", "to": "2026-01-15T10:03:00Z", "events": 1},
    ]


async def test_the_whole_time_is_counted(client: httpx.AsyncClient, database: Database) -> None:
    await write_events(database, [NOW + timedelta(seconds=one / 7) for one in range(100)])
    for buckets, expected in (({}, 60), ({"buckets": 1}, 1), ({"buckets": 120}, 120)):
        query = {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z", **buckets}
        found = (await get(client, "/throughput", **query))["buckets"]
        assert len(found) == expected
        assert sum(one["events"] for one in found) == 100
        assert [one["to"] for one in found[:-1]] == [one["from"] for one in found[1:]]


@on_sqlite
async def test_what_makes_no_sense_is_refused(client: httpx.AsyncClient) -> None:
    early, late = "2026-01-15T10:00:00Z", "2026-01-15T11:00:00Z"
    good = {"from": early, "to": late}
    for query, loc in (
        ({"from": early}, ["query", "to"]),
        ({"to": late}, ["query", "from"]),
        ({"from": late, "to": early}, ["query", "to"]),
        ({"from": early, "to": early}, ["query", "to"]),
        ({"from": "yesterday", "to": late}, ["query", "from"]),
        ({**good, "buckets": "0"}, ["query", "buckets"]),
        ({**good, "buckets": "121"}, ["query", "buckets"]),
        ({**good, "from_": early}, ["query", "(unknown parameter)"]),
    ):
        answer = await client.get("/throughput", params=query)
        assert answer.status_code == 422, query
        assert [error["loc"] for error in answer.json()["errors"]] == [loc], query


@on_sqlite
async def test_both_need_read_sync_where_scopes_are_enforced(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    async with serve_in_process(create_app(make_settings(auth_enforce_scopes=True))) as client:
        for url in ("/overview", f"/throughput?from={NOW:%Y}-01-01T00:00:00Z&to=9000-01-01T00:00:00Z"):
            statuses = []
            for scope in (None, "write:sync", "read:sync"):
                headers = {} if scope is None else {"Authorization": f"Bearer {tokens.token(scope=scope)}"}
                statuses.append((await client.get(url, headers=headers)).status_code)
            assert statuses == [401, 403, 200], url


async def test_three_replicas_that_write_at_once_count_alike(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    began = datetime.now(UTC)
    headers = {"Authorization": f"Bearer {tokens.token(scope='read:sync write:sync')}"}
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(serve_in_process(create_app(make_settings()))) for _ in range(3)]
        for replica in replicas:
            replica.headers.update(headers)

        async def post(client: httpx.AsyncClient) -> None:
            body = {"file_id": str(uuid4()), "event_type": "upload"}
            assert (await client.post("/sync-events", json=body)).status_code == 201

        await asyncio.gather(*(post(replica) for replica in replicas for _ in range(20)))
        events = (await replicas[0].get("/sync-events", params={"limit": 1000})).json()
        times = [datetime.fromisoformat(event["created_at"]) for event in events]
        query = {"from": f"{began - timedelta(seconds=1):%FT%T}Z", "to": f"{max(times) + timedelta(seconds=1):%FT%T}Z"}
        for replica in replicas:
            overview = await get(replica)
            assert (overview["head_position"], overview["events_per_second"]) == (60, 1)
            for bucket in (await get(replica, "/throughput", **query))["buckets"]:
                start, end = (datetime.fromisoformat(bucket[side]) for side in ("from", "to"))
                assert bucket["events"] == sum(start <= at < end for at in times)


async def test_what_may_be_many_is_counted_so_far(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_COUNTED == 100_000
    await write_events(database, [NOW] * 5, retry_state=RetryState.FAILED)
    monkeypatch.setattr("app.operations.repository.MAX_COUNTED", 3)
    assert (await get(client))["set_aside"] == 3
