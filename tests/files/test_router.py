"""The state and the history of files over HTTP, anomalies, and the way back of set-aside events; on both databases."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.files.repository import FileStateHandler
from app.sweep.repository import SweepRepository
from app.sweep.sweeper import Handler, Sweeper
from tests.events.support import add_events
from tests.support.tokens import TokenFactory


class Poison:
    """A handler that fails for one event type while it is told to."""

    def __init__(self, event_type: str) -> None:
        self.event_type = event_type

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        events = await SweepRepository(session).list_at(positions)
        if any(event.event_type == self.event_type for event in events):
            raise RuntimeError("the handler is broken")


async def sweep(database: Database, *handlers: Handler, batch_size: int = 1000) -> None:
    sweeper = Sweeper(
        database,
        [FileStateHandler(), *handlers],
        batch_size=batch_size,
        max_attempts=1,
        retry_interval=timedelta(seconds=1),
    )
    await sweeper.run_once()


async def record(database: Database, file_id: UUID, *event_types: str) -> list[UUID]:
    return await add_events(database, *((file_id, event_type) for event_type in event_types))


async def read_file(client: httpx.AsyncClient, file_id: UUID) -> dict[str, object]:
    answer = await client.get(f"/files/{file_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


async def test_a_file_follows_its_processed_events(client: httpx.AsyncClient, database: Database) -> None:
    file_id = uuid4()
    [first] = await record(database, file_id, "upload")
    assert await read_file(client, file_id) == {
        "file_id": str(file_id),
        "state": "unknown",
        "revision": 0,
        "last_event_id": None,
        "last_event_type": None,
        "last_position": None,
        "pending_events": 1,
        "updated_at": None,
        "subscriptions": [],
    }
    await sweep(database)
    [_, last] = await record(database, file_id, "update", "delete")
    body = await read_file(client, file_id)
    assert body == {
        "file_id": str(file_id),
        "state": "present",
        "revision": 1,
        "last_event_id": str(first),
        "last_event_type": "upload",
        "last_position": 1,
        "pending_events": 2,
        "updated_at": body["updated_at"],
        "subscriptions": [],
    }
    await sweep(database)
    body = await read_file(client, file_id)
    assert (body["state"], body["revision"], body["pending_events"]) == ("deleted", 3, 0)
    assert (body["last_event_id"], body["last_position"]) == (str(last), 3)
    last_event = (await client.get(f"/sync-events/{last}")).json()
    assert body["updated_at"] == last_event["created_at"]
    assert last_event["processed"]
    assert last_event["processed_at"] >= last_event["created_at"]


@pytest.mark.parametrize("path", ["", "/events"])
async def test_a_file_that_no_event_names_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/files/{uuid4()}{path}")).status_code == 404
    assert (await client.get(f"/files/42{path}")).status_code == 404


async def test_the_history_is_oldest_first_and_paged(client: httpx.AsyncClient, database: Database) -> None:
    file_id = uuid4()
    for event_type in ("upload", "update", "delete"):
        await record(database, file_id, event_type)
        await record(database, uuid4(), "upload")
    page = await client.get(f"/files/{file_id}/events?limit=2")
    assert [event["event_type"] for event in page.json()] == ["upload", "update"]
    rest = await client.get(page.url.join(page.links["next"]["url"]))
    assert [event["position"] for event in rest.json()] == [5]
    assert "next" not in rest.links
    assert page.links["next"]["url"] == "?limit=2&after_position=3"
    assert (await client.get(f"/files/{file_id}/events?offset=9")).json() == []


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
async def test_impossible_orders_are_flagged(client: httpx.AsyncClient, database: Database, batch_size: int) -> None:
    expected = {
        "upload update delete": [None, None, None],
        "update update upload update": ["update_of_unknown_file"] * 2 + [None, None],
        "delete delete": ["delete_of_unknown_file", "delete_of_deleted_file"],
        "upload delete update update": [None, None] + ["update_of_deleted_file"] * 2,
        "update delete": ["update_of_unknown_file", "delete_of_unknown_file"],
        "upload upload": [None, None],
    }
    files = {order: uuid4() for order in expected}
    for order, file_id in files.items():
        await record(database, file_id, *order.split())
    await sweep(database, batch_size=batch_size)
    for order, file_id in files.items():
        history = (await client.get(f"/files/{file_id}/events")).json()
        assert [event["anomaly"] for event in history] == expected[order], order
    assert (await read_file(client, files["upload delete update update"]))["state"] == "present"
    assert (await read_file(client, files["delete delete"]))["state"] == "deleted"
    flagged = (await client.get("/sync-events?anomaly=true&limit=100")).json()
    assert len(flagged) == 8
    assert all(event["anomaly"] for event in flagged)
    assert len((await client.get("/sync-events?anomaly=false&limit=100")).json()) == 9


async def test_a_set_aside_event_is_visible_and_finds_its_way_back(
    client: httpx.AsyncClient, database: Database
) -> None:
    file_id = uuid4()
    ids = await record(database, file_id, "upload", "update", "delete")
    await sweep(database, Poison("update"))
    [failed] = (await client.get("/sync-events?state=failed")).json()
    assert failed["event_id"] == str(ids[1])
    assert (failed["attempts"], failed["last_error"]) == (1, "RuntimeError: the handler is broken")
    assert (await client.get("/sync-events?processed=false")).json() == [failed]
    assert [event["position"] for event in (await client.get("/sync-events?processed=true")).json()] == [3, 1]
    assert (await read_file(client, file_id))["pending_events"] == 1

    requeued = await client.post(f"/sync-events/{ids[1]}/requeue")
    assert requeued.status_code == 202
    assert (requeued.json()["state"], requeued.json()["attempts"]) == ("retrying", 0)
    assert (await client.post(f"/sync-events/{ids[1]}/requeue")).status_code == 409
    await sweep(database)
    body = await read_file(client, file_id)
    assert (body["state"], body["revision"], body["last_position"], body["pending_events"]) == ("deleted", 3, 3, 0)
    assert (await client.get("/sync-events?state=failed")).json() == []
    assert (await client.get(f"/sync-events/{ids[1]}")).json()["state"] == "processed"


async def test_only_set_aside_events_can_be_requeued_and_only_by_operators(
    client: httpx.AsyncClient, database: Database, tokens: TokenFactory
) -> None:
    [event_id] = await record(database, uuid4(), "upload")
    conflict = await client.post(f"/sync-events/{event_id}/requeue")
    assert (conflict.status_code, conflict.json()["title"]) == (409, "Conflict")
    assert (await client.post(f"/sync-events/{uuid4()}/requeue")).status_code == 404
    client.headers["Authorization"] = f"Bearer {tokens.token(scope='read:sync write:sync')}"
    forbidden = await client.post(f"/sync-events/{event_id}/requeue")
    assert forbidden.status_code == 403
    assert 'error="insufficient_scope"' in forbidden.headers["WWW-Authenticate"]
    assert 'scope="admin:sync"' in forbidden.headers["WWW-Authenticate"]
