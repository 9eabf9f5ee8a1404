"""Dead deliveries are redelivered in bulk if as many match as somebody saw: all or none; on both databases."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest_asyncio

from app.database.engine import Database
from tests.deliveries.support import check_lanes, list_deliveries, make_sweeper
from tests.deliveries.test_catch_up import settle
from tests.events.support import add_events
from tests.subscriptions.support import change, errors, subscribe
from tests.support.marks import on_sqlite

FILE, OTHER = uuid4(), uuid4()
DEAD = [1, 2, 4, 6]


@pytest_asyncio.fixture(loop_scope="session")
async def subscription_id(client: httpx.AsyncClient, database: Database) -> UUID:
    """A subscription with the deliveries of six events, of two files in turn: four are dead, two are delivered."""
    body = await subscribe(client, url="http://127.0.0.1:9/")
    subscription_id = UUID(body["id"])
    await add_events(database, *((FILE if n % 2 else OTHER, "update") for n in range(1, 7)))
    await make_sweeper(database).run_once()
    await settle(database, subscription_id, "dead", *DEAD)
    await settle(database, subscription_id, "delivered", 3, 5)
    await change(client, body["id"], status="paused")
    return subscription_id


async def send(client: httpx.AsyncClient, subscription_id: UUID, expected: int, /, **body: Any) -> httpx.Response:
    position = body.pop("up_to_position", 6)
    wanted = {"filter": body, "up_to_position": position, "expected": expected}
    return await client.post(f"/subscriptions/{subscription_id}/redeliver", json=wanted)


async def dead(database: Database, subscription_id: UUID) -> list[int]:
    return [one.position for one in await list_deliveries(database, subscription_id) if one.status == "dead"]


async def test_those_that_match_are_pending_again(
    client: httpx.AsyncClient, database: Database, subscription_id: UUID
) -> None:
    done = await send(client, subscription_id, 3, up_to_position=5)
    assert (done.status_code, done.json()) == (200, {"redelivered": 3})
    assert await dead(database, subscription_id) == [6]
    await check_lanes(database)
    again = (await list_deliveries(database, subscription_id))[0]
    assert (again.status, again.attempts, again.settled_at) == ("pending", 0, None)


async def test_each_filter(client: httpx.AsyncClient, database: Database, subscription_id: UUID) -> None:
    ids = {one.position: one.id for one in await list_deliveries(database, subscription_id)}
    for wanted, positions in (
        ({"file_id": str(OTHER)}, [2, 4, 6]),
        ({"delivery_ids": [ids[6], ids[1], ids[3], ids[5], ids[1], 2**63 - 1]}, [1, 6]),
        ({"delivery_ids": [ids[1], ids[2]], "file_id": str(FILE)}, [1]),
        ({"delivery_ids": None}, DEAD),
        ({}, DEAD),
    ):
        for wrong in {len(positions) - 1, len(positions) + 1, 10_000} - {0}:
            refused = await send(client, subscription_id, wrong, **wanted)
            assert (refused.status_code, refused.json()["type"]) == (409, "urn:sync-service:problem:other-count")
        assert await dead(database, subscription_id) == DEAD
        assert (await send(client, subscription_id, len(positions), **wanted)).status_code == 200
        assert set(DEAD) - set(await dead(database, subscription_id)) == set(positions)
        await settle(database, subscription_id, "dead", *positions)


async def test_those_of_other_subscriptions_are_left_alone(
    client: httpx.AsyncClient, database: Database, subscription_id: UUID
) -> None:
    other = UUID((await subscribe(client, status="paused"))["id"])
    ids = [one.id for one in await list_deliveries(database, subscription_id)]
    assert (await send(client, other, 4, delivery_ids=ids)).status_code == 409
    assert await dead(database, subscription_id) == DEAD
    missing = await send(client, uuid4(), 4)
    assert (missing.status_code, missing.json()["detail"]) == (404, "There is no subscription with this id.")


@on_sqlite
async def test_a_body_that_cannot_be(client: httpx.AsyncClient, subscription_id: UUID) -> None:
    path = f"/subscriptions/{subscription_id}/redeliver"
    good = {"filter": {}, "up_to_position": 6, "expected": 4}
    for bad, where in (
        ({**good, "expected": 0}, "body.expected"),
        ({**good, "expected": 10_001}, "body.expected"),
        ({**good, "filter": {"delivery_ids": []}}, "body.filter.delivery_ids"),
        ({**good, "filter": {"delivery_ids": ["42"]}}, "body.filter.delivery_ids.0"),
        ({**good, "filter": {"status": "dead"}}, "body.filter.status"),
        ({"up_to_position": 6, "expected": 4}, "body.filter"),
        ([], "body"),
    ):
        assert errors(await client.post(path, json=bad))[0][0] == where, bad
    assert (await client.post(path, content="{}")).status_code == 415
    json_type = {"Content-Type": "application/json"}
    assert (await client.post(path, content="null", headers=json_type)).status_code == 422


async def test_without_a_body_all_dead_ones_are_redelivered_as_before(
    client: httpx.AsyncClient, database: Database, subscription_id: UUID
) -> None:
    path = f"/subscriptions/{subscription_id}/redeliver"
    for headers in ({}, {"Content-Type": "application/json"}, {"Content-Length": "0"}):
        answered = await client.post(path, headers=headers)
        assert (answered.status_code, answered.json()) == (202, {"redelivered": 4, "has_more": False})
        await settle(database, subscription_id, "dead", *DEAD)


async def test_of_callers_at_once_one_wins(
    client: httpx.AsyncClient, database: Database, subscription_id: UUID
) -> None:
    answers = await asyncio.gather(*(send(client, subscription_id, 4) for _ in range(8)))
    assert Counter(one.status_code for one in answers) == {200: 1, 409: 7}
    await check_lanes(database)
