"""Deliveries and their attempts are read and redelivered over HTTP; on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest_asyncio
from sqlalchemy import update

from app.database.engine import Database
from app.deliveries.repository import REDELIVERED_AT_ONCE
from app.subscriptions.models import Attempt, Delivery, Subscription
from app.subscriptions.repository import MAX_COUNTED
from tests.deliveries.support import check_lanes, due_positions, make_sweeper
from tests.deliveries.test_catch_up import settle
from tests.events.support import add_events
from tests.subscriptions.support import change, subscribe, view
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

FILE, OTHER = uuid4(), uuid4()


@pytest_asyncio.fixture(loop_scope="session")
async def told(client: httpx.AsyncClient, database: Database) -> str:
    """A paused subscription with the deliveries of 6 events, of two files in turn, which wait."""
    body = await subscribe(client, url="http://127.0.0.1:9/", start="beginning")
    await change(client, body["id"], status="paused")
    await add_events(database, *((FILE if number % 2 else OTHER, "update") for number in range(6)))
    await make_sweeper(database).run_once()
    subscription_id: str = body["id"]
    async with database.transaction() as session:
        first: set[UUID] = set()
        for number in range(6):
            file_id = FILE if number % 2 else OTHER
            due = None if file_id in first else datetime.now(UTC) + timedelta(hours=1)
            first.add(file_id)
            values: dict[str, Any] = {"file_id": file_id, "due_at": due, "created_at": datetime.now(UTC)}
            values["wait_seconds"] = 3600  # or the time would be taken for that of a wrong clock
            key = {"id": 101 + number, "subscription_id": UUID(subscription_id), "position": 1 + number}
            session.add(Delivery(**key, status="pending", **values))
        await session.execute(update(Subscription).values(cursor=6))
    return subscription_id


async def page(client: httpx.AsyncClient, path: str) -> list[int]:
    """The positions of a page of deliveries."""
    found = await client.get(path)
    assert found.status_code == 200, found.text
    return [one["position"] for one in found.json()]


async def test_deliveries_are_listed_newest_first(client: httpx.AsyncClient, database: Database, told: str) -> None:
    path = f"/subscriptions/{told}/deliveries"
    await settle(database, UUID(told), "dead", 1)
    await settle(database, UUID(told), "delivered", 3)
    assert await page(client, path) == [6, 5, 4, 3, 2, 1]
    assert await page(client, f"{path}?status=dead") == [1]
    assert await page(client, f"{path}?status=pending") == [6, 5, 4, 2]
    assert await page(client, f"{path}?file_id={FILE}") == [6, 4, 2]
    assert await page(client, f"{path}?file_id={OTHER}&status=delivered") == [3]
    assert await page(client, f"{path}?file_id={uuid4()}") == []
    first = await client.get(f"{path}?limit=2&offset=1")
    links = '<?limit=2&before_position=4>; rel="next", <?limit=2&offset=0>; rel="prev"'
    assert ([one["position"] for one in first.json()], first.headers["Link"]) == ([5, 4], links)
    assert await page(client, f"{path}?before_position=4&status=pending") == [2]
    deep = await client.get(f"{path}?offset=10001")
    assert (deep.status_code, "`Link`" in deep.json()["detail"]) == (422, True)
    stood = await view(client, told)
    assert (stood["pending"], stood["dead"]) == (4, 1)
    assert stood["oldest_pending_at"]


async def test_a_delivery_with_its_attempts(client: httpx.AsyncClient, database: Database, told: str) -> None:
    at = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    async with database.transaction() as session:
        for number, outcome in ((1, "timeout"), (2, "failed")):
            session.add(
                Attempt(
                    delivery_id=102,
                    number=number,
                    started_at=at + timedelta(seconds=number),
                    duration_ms=12,
                    outcome=outcome,
                    status_code=500 if number == 2 else None,
                    response="no space left" if number == 2 else None,
                    error="no complete response within 15 seconds" if number == 1 else None,
                )
            )
        await session.execute(update(Delivery).where(Delivery.id == 102).values(attempts=2))
    body = (await client.get("/deliveries/102")).json()
    event = (await client.get("/sync-events?limit=1&offset=4")).json()[0]
    assert body == {
        "id": 102,
        "subscription_id": told,
        "event_id": event["event_id"],
        "event_type": "update",
        "file_id": str(FILE),
        "position": 2,
        "status": "pending",
        "attempts": 2,
        "last_outcome": "failed",
        "sending": False,
        "next_attempt_at": body["next_attempt_at"],
        "created_at": body["created_at"],
        "settled_at": None,
        "history": [
            {
                "number": 2,
                "started_at": "2026-01-15T10:30:02Z",
                "duration_ms": 12,
                "outcome": "failed",
                "status_code": 500,
                "response": "no space left",
                "error": None,
            },
            {
                "number": 1,
                "started_at": "2026-01-15T10:30:01Z",
                "duration_ms": 12,
                "outcome": "timeout",
                "status_code": None,
                "response": None,
                "error": "no complete response within 15 seconds",
            },
        ],
    }
    assert datetime.fromisoformat(body["next_attempt_at"]) > datetime.now(UTC)
    waits = (await client.get("/deliveries/104")).json()
    assert (waits["next_attempt_at"], waits["sending"], waits["history"]) == (None, False, [])


async def test_who_is_told_of_an_event(client: httpx.AsyncClient, database: Database, told: str) -> None:
    other = await subscribe(client, status="paused")
    async with database.transaction() as session:
        session.add(
            Delivery(
                id=500,
                subscription_id=UUID(other["id"]),
                position=6,
                file_id=FILE,
                status="dead",
                created_at=datetime.now(UTC),
                settled_at=datetime.now(UTC),
            )
        )
    event = (await client.get("/sync-events?limit=1")).json()[0]
    path = f"/sync-events/{event['event_id']}/deliveries"
    found = (await client.get(path)).json()
    assert [(one["id"], one["subscription_id"], one["status"]) for one in found] == [
        (106, told, "pending"),
        (500, other["id"], "dead"),
    ]
    assert {one["event_id"] for one in found} == {event["event_id"]}
    assert (await client.get(f"{path}?limit=1")).headers["Link"] == '<?limit=1&offset=1>; rel="next"'
    unknown = await client.get(f"/sync-events/{uuid4()}/deliveries")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "There is no event with this id.")


async def test_one_is_redelivered_in_its_place(client: httpx.AsyncClient, database: Database, told: str) -> None:
    pending = await client.post("/deliveries/102/redeliver")
    assert pending.status_code == 409
    assert pending.json()["type"].endswith("delivery-pending")
    await settle(database, UUID(told), "dead", 2, 4, 6)
    again = await client.post("/deliveries/104/redeliver")
    assert again.status_code == 202
    body = again.json()
    assert (body["status"], body["attempts"], body["settled_at"]) == ("pending", 0, None)
    assert body["next_attempt_at"]
    await settle(database, UUID(told), "delivered", 4)
    assert (await client.post("/deliveries/104/redeliver")).status_code == 202
    await check_lanes(database)
    assert await due_positions(database, UUID(told)) == [1, 4]


async def test_of_redeliveries_at_once_one_counts(client: httpx.AsyncClient, database: Database, told: str) -> None:
    await settle(database, UUID(told), "dead", 2, 4, 6)
    answers = await asyncio.gather(*(client.post("/deliveries/102/redeliver") for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [202] + [409] * 7


async def test_all_dead_ones_are_redelivered(client: httpx.AsyncClient, database: Database, told: str) -> None:
    await settle(database, UUID(told), "dead", 1, 2, 3, 4, 5, 6)
    path = f"/subscriptions/{told}/redeliver"
    answered = await client.post(path)
    assert (answered.status_code, answered.json()) == (202, {"redelivered": 6, "has_more": False})
    assert (await client.post(path)).json() == {"redelivered": 0, "has_more": False}
    await check_lanes(database)
    stood = await view(client, told)
    assert (stood["pending"], stood["dead"]) == (6, 0)


@on_sqlite
async def test_counts_end_somewhere(client: httpx.AsyncClient, database: Database, told: str) -> None:
    rows = [
        {
            "id": 1000 + number,
            "subscription_id": UUID(told),
            "position": 1000 + number,
            "file_id": FILE,
            "status": "dead",
            "created_at": datetime.now(UTC),
            "settled_at": datetime.now(UTC),
        }
        for number in range(MAX_COUNTED + 5)
    ]
    async with database.transaction() as session:
        await session.execute(Delivery.__table__.insert(), rows)  # type: ignore[attr-defined]  # a Table
    assert (await view(client, told))["dead"] == MAX_COUNTED
    [progress] = (await client.get(f"/files/{FILE}")).json()["subscriptions"]
    assert progress["dead"] == 1001
    redelivered = (await client.post(f"/subscriptions/{told}/redeliver")).json()
    assert redelivered == {"redelivered": MAX_COUNTED + 5, "has_more": False}
    assert redelivered["redelivered"] > 2 * REDELIVERED_AT_ONCE
    assert (await view(client, told))["pending"] == MAX_COUNTED


async def test_a_file_tells_how_far_each_subscription_is(
    client: httpx.AsyncClient, database: Database, told: str
) -> None:
    async def progress(file_id: UUID) -> dict[str, Any]:
        [one] = (await client.get(f"/files/{file_id}")).json()["subscriptions"]
        assert one.pop("subscription_id") == told
        assert one.pop("status") == "paused"
        shown: dict[str, Any] = one
        return shown

    assert await progress(FILE) == {"delivered_position": None, "pending": 3, "dead": 0, "behind": False}
    await settle(database, UUID(told), "delivered", 2)
    await settle(database, UUID(told), "dead", 4)
    assert await progress(FILE) == {"delivered_position": 2, "pending": 1, "dead": 1, "behind": False}
    assert await progress(OTHER) == {"delivered_position": None, "pending": 3, "dead": 0, "behind": False}
    await settle(database, UUID(told), "delivered", 6)
    await add_events(database, (FILE, "update"))
    await make_sweeper(database).run_once()
    assert await progress(FILE) == {"delivered_position": 6, "pending": 0, "dead": 1, "behind": True}
    assert not (await progress(OTHER))["behind"]


@on_sqlite
async def test_whoever_may_read_sees_no_more_than_progress(
    client: httpx.AsyncClient, tokens: TokenFactory, told: str
) -> None:
    reader = {"Authorization": f"Bearer {tokens.token(scope='read:sync')}"}
    shown = await client.get(f"/files/{FILE}", headers=reader)
    assert shown.status_code == 200
    assert "127.0.0.1" not in shown.text
    assert "whsec" not in shown.text


@on_sqlite
async def test_a_page_that_can_not_be(client: httpx.AsyncClient, told: str) -> None:
    for query in ("limit=0", "limit=1001", "offset=-1", "offset=1000001", "status=x", "file_id=x", "x=1"):
        assert (await client.get(f"/subscriptions/{told}/deliveries?{query}")).status_code == 422, query


@on_sqlite
async def test_an_id_that_is_none(client: httpx.AsyncClient) -> None:
    for delivery_id in ("0", "-1", "x", "1e3", "01", "9223372036854775808", "9" * 5000, "%31%00"):
        for method, path in (("GET", ""), ("POST", "/redeliver")):
            answer = await client.request(method, f"/deliveries/{delivery_id}{path}")
            assert answer.status_code == 422, delivery_id


async def test_one_that_is_not_there(client: httpx.AsyncClient) -> None:
    for delivery_id in (1, 2**63 - 1):
        for method, path in (("GET", ""), ("POST", "/redeliver")):
            missing = await client.request(method, f"/deliveries/{delivery_id}{path}")
            assert (missing.status_code, missing.json()["detail"]) == (404, "There is no delivery with this id.")
