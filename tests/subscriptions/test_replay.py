"""Ranges are replayed over HTTP; on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest_asyncio
from sqlalchemy import update

from app.database.engine import Database
from app.deliveries.catch_up import CatchUp
from app.events.models import SyncEvent
from app.subscriptions.models import Subscription
from tests.deliveries.support import list_deliveries, make_sweeper, pending_positions
from tests.deliveries.test_catch_up import settle
from tests.events.support import add_events
from tests.subscriptions.support import change, errors, subscribe, view
from tests.support.marks import on_sqlite

FILE = uuid4()
T0 = datetime(2026, 1, 15, 10, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def told(client: httpx.AsyncClient, database: Database) -> str:
    """A paused subscription that was told of 10 events, of 10:01, 10:02, …"""
    body = await subscribe(client, start="beginning")
    await add_events(database, *((FILE, "update") for _ in range(10)))
    await make_sweeper(database).run_once()
    await CatchUp(database).run_once()
    await settle(database, UUID(body["id"]), "delivered", *range(1, 11))
    await change(client, body["id"], status="paused")
    async with database.transaction() as session:
        for position in range(1, 11):
            at = T0 + timedelta(minutes=position)
            await session.execute(update(SyncEvent).where(SyncEvent.position == position).values(created_at=at))
    subscription_id: str = body["id"]
    return subscription_id


async def replayed(database: Database, subscription_id: str) -> list[int]:
    """What is pending once the replay has been worked off."""
    async with database.transaction() as session:
        await session.execute(update(Subscription).values(status="active"))
    await CatchUp(database).run_once()
    return await pending_positions(database, UUID(subscription_id))


RANGES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "from a position": ({"from_position": 8}, [8, 9, 10]),
    "positions": ({"from_position": 3, "until_position": 5}, [3, 4, 5]),
    "beyond the end": ({"from_position": 9, "until_position": 1000}, [9, 10]),
    "one position": ({"from_position": 3, "until_position": 3}, [3]),
    "from a time": ({"from_time": "2026-01-15T10:09:00Z"}, [9, 10]),
    "times": ({"from_time": "2026-01-15T11:02:00+01:00", "until_time": "2026-01-15T10:04:00Z"}, [2, 3]),
    "from long ago": ({"from_time": "0001-01-01T00:00:00Z", "until_time": "2026-01-15T10:02:30Z"}, [1, 2]),
}


async def test_a_range_is_delivered_once_more(client: httpx.AsyncClient, database: Database, told: str) -> None:
    for name, (body, positions) in RANGES.items():
        etag = (await client.get(f"/subscriptions/{told}")).headers["ETag"]
        answer = await client.post(f"/subscriptions/{told}/replay", json=body)
        assert (answer.status_code, answer.headers["ETag"]) == (202, etag), name
        assert answer.json()["replay"] == {"position": positions[0] - 1, "until": positions[-1]}, name
        assert await replayed(database, told) == positions, name
        assert (await view(client, told))["replay"] is None, name
        await settle(database, UUID(told), "delivered", *positions)


async def test_one_replay_at_a_time(client: httpx.AsyncClient, told: str) -> None:
    path = f"/subscriptions/{told}/replay"
    assert (await client.post(path, json={"from_position": 1})).status_code == 202
    again = await client.post(path, json={"from_position": 2})
    assert again.status_code == 409
    assert again.json()["type"].endswith("replay-under-way")
    assert (await view(client, told))["replay"] == {"position": 0, "until": 10}


async def test_a_range_without_events(client: httpx.AsyncClient, told: str) -> None:
    for body in (
        {"from_time": "2026-01-15T11:00:00Z"},
        {"from_time": "2026-01-15T09:00:00Z", "until_time": "2026-01-15T10:01:00Z"},
    ):
        answer = await client.post(f"/subscriptions/{told}/replay", json=body)
        assert answer.status_code == 409, body
        assert answer.json()["type"].endswith("nothing-to-replay"), body


async def test_what_is_still_to_come_is_not_replayed(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client, start="beginning", status="paused")
    await add_events(database, (FILE, "upload"))
    await make_sweeper(database).run_once()
    answer = await client.post(f"/subscriptions/{body['id']}/replay", json={"from_position": 1})
    assert answer.status_code == 409


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing": ({}, "body", "replay_range"),
    "no beginning": ({"until_position": 3}, "body", "replay_range"),
    "both": ({"from_position": 1, "from_time": "2026-01-15T10:00:00Z"}, "body", "replay_range"),
    "mixed": ({"from_position": 1, "until_time": "2026-01-15T10:00:00Z"}, "body", "replay_range"),
    "mixed otherwise": ({"from_time": "2026-01-15T10:00:00Z", "until_position": 3}, "body", "replay_range"),
    "backwards": ({"from_position": 3, "until_position": 2}, "body", "replay_range"),
    "back in time": (
        {"from_time": "2026-01-15T10:00:00Z", "until_time": "2026-01-15T09:00:00Z"},
        "body",
        "replay_range",
    ),
    "position 0": ({"from_position": 0}, "body.from_position", "greater_than_equal"),
    "position text": ({"from_position": "1"}, "body.from_position", "number_type"),
    "position huge": ({"from_position": 2**60}, "body.from_position", "less_than_equal"),
    "beyond": ({"from_position": 11}, "body.from_position", "beyond_ledger"),
    "time without zone": ({"from_time": "2026-01-15T10:00:00"}, "body.from_time", "timestamp_format"),
    "time number": ({"from_time": 1768471200}, "body.from_time", "string_type"),
    "unknown": ({"from_position": 1, "x": 1}, "body.x", "extra_forbidden"),
}


@on_sqlite
async def test_ranges_that_are_none(client: httpx.AsyncClient, told: str) -> None:
    for name, (body, loc, kind) in WRONG.items():
        answer = await client.post(f"/subscriptions/{told}/replay", json=body)
        assert errors(answer) == [(loc, kind)], name
    assert (await view(client, told))["replay"] is None


async def test_a_replay_may_begin_before_the_subscription_did(client: httpx.AsyncClient, database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(3)))
    await make_sweeper(database).run_once()
    body = await subscribe(client)
    assert (await client.post(f"/subscriptions/{body['id']}/replay", json={"from_position": 2})).status_code == 202
    await CatchUp(database).run_once()
    assert [one.position for one in await list_deliveries(database, UUID(body["id"]))] == [2, 3]


async def test_a_replay_may_be_ended(client: httpx.AsyncClient, database: Database, told: str) -> None:
    path = f"/subscriptions/{told}/replay"
    assert (await client.post(path, json={"from_position": 1})).status_code == 202
    for _ in range(2):
        assert (await client.delete(path)).status_code == 204
        assert (await view(client, told))["replay"] is None
    assert (await client.post(path, json={"from_position": 1})).status_code == 202
    assert (await client.delete(f"/subscriptions/{uuid4()}/replay")).status_code == 404
