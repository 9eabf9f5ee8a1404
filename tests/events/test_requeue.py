"""Set-aside events are requeued in bulk if as many match as somebody saw: all or none; on both databases."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest_asyncio
from sqlalchemy import select, text, update

from app.database.engine import Database
from app.events.models import SyncEvent
from tests.events.support import add_events
from tests.subscriptions.support import errors
from tests.support.marks import on_postgresql
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

PATH = "/sync-events/requeue"
FILE, OTHER = uuid4(), uuid4()
FAILED = (2, 3, 4, 6, 8)


@pytest_asyncio.fixture(loop_scope="session")
async def ids(database: Database) -> list[UUID]:
    """Ten events of two files in turn; five are set aside, for two reasons, and two are in retry."""
    types = ("upload", "update", "delete")
    ids = await add_events(database, *((OTHER if n % 2 else FILE, types[n % 3]) for n in range(1, 11)))
    async with database.transaction() as session:
        for state, positions in (("failed", FAILED), ("retrying", (1,)), ("waiting", (5,))):
            marked = update(SyncEvent).where(SyncEvent.position.in_(positions))
            await session.execute(marked.values(retry_state=state, attempts=5, last_error="KeyError: a"))
        await session.execute(update(SyncEvent).where(SyncEvent.position == 6).values(last_error="KeyError: a\\b é"))
    return ids


async def states(database: Database) -> dict[str | None, list[int]]:
    """The positions of the events in each state."""
    async with database.read() as session:
        rows = (await session.execute(select(SyncEvent.retry_state, SyncEvent.position).order_by("position"))).all()
    return {state: [position for other, position in rows if other == state] for state, _ in rows}


def body(expected: int, up_to_position: int = 10, **wanted: Any) -> dict[str, Any]:
    return {"filter": wanted, "up_to_position": up_to_position, "expected": expected}


async def test_all_that_match_at_or_below_the_position_are_requeued(
    client: httpx.AsyncClient, database: Database, ids: list[UUID]
) -> None:
    done = await client.post(PATH, json=body(3, 5))
    assert (done.status_code, done.json()) == (200, {"requeued": 3})
    assert await states(database) == {"retrying": [1, 2, 3, 4], "waiting": [5], "failed": [6, 8], None: [7, 9, 10]}
    requeued = (await client.get(f"/sync-events/{ids[1]}")).json()
    assert (requeued["state"], requeued["attempts"]) == ("retrying", 0)


async def test_each_filter(client: httpx.AsyncClient, database: Database, ids: list[UUID]) -> None:
    filters: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [2, 3, 4, 6, 8]),
        ({"event_ids": None, "file_id": None}, [2, 3, 4, 6, 8]),
        ({"last_error": "KeyError: a"}, [2, 3, 4, 8]),
        ({"last_error": "KeyError: a\\b é"}, [6]),
        ({"file_id": str(OTHER)}, [3]),
        ({"event_type": "delete"}, [2, 8]),
        ({"event_type": "upload", "file_id": str(FILE)}, [6]),
        ({"event_type": "upload", "last_error": "KeyError: a"}, [3]),
        ({"file_id": str(FILE), "last_error": "KeyError: a", "event_type": "update"}, [4]),
    ]
    for wanted, positions in filters:
        for wrong in {len(positions) - 1, len(positions) + 1, 10_000} - {0}:
            refused = await client.post(PATH, json=body(wrong, **wanted))
            assert (refused.status_code, refused.json()["type"]) == (409, "urn:sync-service:problem:other-count")
        assert (await states(database))["failed"] == list(FAILED)
        assert (await client.post(PATH, json=body(len(positions), **wanted))).json() == {"requeued": len(positions)}
        assert set(FAILED) - set((await states(database)).get("failed", [])) == set(positions), wanted
        async with database.transaction() as session:
            again = update(SyncEvent).where(SyncEvent.position.in_(positions))
            await session.execute(again.values(retry_state="failed", attempts=5))


async def test_named_events_of_which_only_the_set_aside_ones_count(
    client: httpx.AsyncClient, database: Database, ids: list[UUID]
) -> None:
    named = [str(ids[position - 1]) for position in (8, 2, 1, 5, 9, 2)] + [str(uuid4())]
    assert (await client.post(PATH, json=body(6, event_ids=named))).status_code == 409
    assert (await client.post(PATH, json=body(1, 7, event_ids=named, file_id=str(FILE)))).json() == {"requeued": 1}
    assert (await client.post(PATH, json=body(1, event_ids=named))).json() == {"requeued": 1}
    assert (await states(database))["failed"] == [3, 4, 6]


async def test_the_refusal_says_how_many_there_are(client: httpx.AsyncClient, ids: list[UUID]) -> None:
    def detail(answer: httpx.Response) -> str:
        return str(answer.json()["detail"])

    more = await client.post(PATH, json=body(4))
    assert detail(more) == "The filter matches more than 4 set-aside events at or below the position; nothing was done."
    fewer = await client.post(PATH, json=body(6))
    assert detail(fewer) == "The filter matches 5 set-aside events at or below the position; nothing was done."


async def test_a_body_that_cannot_be(client: httpx.AsyncClient, ids: list[UUID]) -> None:
    good = body(5)
    for bad, where in (
        ({**good, "expected": 0}, "body.expected"),
        ({**good, "expected": 10_001}, "body.expected"),
        ({**good, "expected": "5"}, "body.expected"),
        ({**good, "up_to_position": 0}, "body.up_to_position"),
        ({**good, "up_to_position": None}, "body.up_to_position"),
        ({**good, "filter": None}, "body.filter"),
        ({**good, "filter": {"state": "failed"}}, "body.filter.state"),
        ({**good, "filter": {"event_ids": []}}, "body.filter.event_ids"),
        ({**good, "filter": {"event_ids": ["x"]}}, "body.filter.event_ids.0"),
        ({**good, "filter": {"event_type": "rename"}}, "body.filter.event_type"),
        ({"filter": {}, "expected": 5}, "body.up_to_position"),
        ({"up_to_position": 10, "expected": 5}, "body.filter"),
    ):
        assert errors(await client.post(PATH, json=bad))[0][0] == where, bad
    assert (await client.post(PATH)).status_code == 415
    null = await client.post(PATH, content="null", headers={"Content-Type": "application/json"})
    assert errors(null)[0][0] == "body"
    many = [str(uuid4()) for _ in range(10_001)]
    assert errors(await client.post(PATH, json=body(5, event_ids=many))) == [("body.filter.event_ids", "too_long")]
    assert (await client.post(PATH, json=body(5, event_ids=many[1:]))).status_code == 409


async def test_only_operators_may(client: httpx.AsyncClient, tokens: TokenFactory) -> None:
    client.headers["Authorization"] = f"Bearer {tokens.token(scope='read:sync write:sync')}"
    refused = await client.post(PATH, content="not even JSON")
    assert refused.status_code == 403
    assert 'scope="admin:sync"' in refused.headers["WWW-Authenticate"]


async def test_of_callers_at_once_one_wins(client: httpx.AsyncClient, database: Database, ids: list[UUID]) -> None:
    by_id = body(5, event_ids=[str(one) for one in reversed(ids)])
    sent = [client.post(PATH, json=one) for one in [body(5), by_id] * 4]
    answers = Counter([one.status_code for one in await asyncio.gather(*sent)])
    assert answers == {200: 1, 409: 7}
    assert "failed" not in await states(database)


@on_postgresql
async def test_the_second_of_two_counts_again_once_the_first_is_done(
    client: httpx.AsyncClient, database: Database, ids: list[UUID]
) -> None:
    async def waits() -> bool:
        blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        async with database.read() as session:
            return bool(await session.scalar(blocked))

    async with database.transaction() as session:
        await session.execute(update(SyncEvent).where(SyncEvent.position == 4).values(retry_state="retrying"))
        second = asyncio.create_task(client.post(PATH, json=body(5)))
        await until(waits)
    assert (await second).status_code == 409
    assert (await states(database))["failed"] == [2, 3, 6, 8]
