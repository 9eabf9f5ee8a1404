"""The feed by pages, over HTTP, on both databases."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import delete, text, update

from app.changes import repository
from app.database.engine import Database
from app.events.models import LedgerHead, SyncEvent
from app.http.pages import PAGE_BYTES
from tests.changes.support import FILE, fill, follow_pages, get_page, positions
from tests.support.marks import on_sqlite


async def test_an_empty_ledger_has_an_empty_page(client: httpx.AsyncClient, database: Database) -> None:
    page = await get_page(client)
    assert page == {
        "changes": [],
        "cursor": page["cursor"],
        "has_more": False,
        "head_position": 0,
        "from_position": 1,
        "to_position": 0,
    }
    await fill(database, 1)
    assert positions([await get_page(client, cursor=page["cursor"])]) == [1]


async def test_a_change_is_the_event_as_everywhere(client: httpx.AsyncClient) -> None:
    for metadata in (None, {"path": "a/ü\u2028\x1f.txt", "size": 12, "ratio": 0.5, "tags": [None, True, {}, 1e300]}):
        event = {"file_id": str(uuid4()), "event_type": "delete", "metadata": metadata}
        assert (await client.post("/sync-events", json=event)).status_code == 201
    listed = (await client.get("/sync-events")).json()
    assert (await get_page(client))["changes"] == listed[::-1]
    assert list((await get_page(client))["changes"][0]) == list(listed[0])


async def test_pages_join_without_a_gap(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 2500)
    pages = await follow_pages(client, limit=1000)
    assert positions(pages) == list(range(1, 2501))
    assert [(page["from_position"], page["to_position"]) for page in pages] == [(1, 1000), (1001, 2000), (2001, 2500)]
    assert {page["head_position"] for page in pages} == {2500}
    assert len((await get_page(client))["changes"]) == 100, "the default"
    end = await get_page(client, cursor=pages[-1]["cursor"])
    assert (end["changes"], end["from_position"], end["to_position"], end["has_more"]) == ([], 2501, 2500, False)


async def test_latest_begins_now(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 3)
    page = await get_page(client, cursor="latest")
    assert (page["changes"], page["from_position"], page["to_position"], page["has_more"]) == ([], 4, 3, False)
    await fill(database, 2)
    assert positions([await get_page(client, cursor=page["cursor"])]) == [4, 5]


async def test_filters_choose_and_the_ranges_cover_everything(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 4)
    await fill(database, 2, event_type="delete")
    await fill(database, 2, file_id=FILE)
    await fill(database, 1, file_id=FILE, event_type="delete")
    await fill(database, 1, event_type="update")

    async def find(limit: int, **wanted: Any) -> list[int]:
        pages = await follow_pages(client, limit=limit, **wanted)
        assert (pages[0]["from_position"], pages[-1]["to_position"]) == (1, 10)
        return positions(pages)

    for limit in (1, 2, 3, 1000):
        assert await find(limit, event_type="delete") == [5, 6, 9]
        assert await find(limit, event_type=["delete", "update"]) == [5, 6, 9, 10]
        assert await find(limit, file_id=str(FILE)) == [7, 8, 9]
        assert await find(limit, file_id=str(FILE), event_type="upload") == [7, 8]
        assert await find(limit, file_id=str(FILE), event_type="update") == []


async def test_what_one_page_examines_is_bounded(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "WINDOW_POSITIONS", 10)
    monkeypatch.setattr(repository, "WINDOW_FILE_EVENTS", 10)
    await fill(database, 25, file_id=FILE)
    await fill(database, 1, file_id=FILE, event_type="delete")
    wants: list[dict[str, Any]] = [{"event_type": "delete"}, {"event_type": "delete", "file_id": str(FILE)}]
    for wanted in wants:
        pages = await follow_pages(client, **wanted, limit=2)
        assert [len(page["changes"]) for page in pages] == [0, 0, 1]
        assert [page["to_position"] for page in pages] == [10, 20, 26]


async def test_a_page_of_long_events_is_short(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 10)
    event = {"file_id": str(FILE), "event_type": "upload", "metadata": {"text": "x" * 16_000}}
    for _ in range(2):
        assert (await client.post("/sync-events/batch", json={"events": [event] * 150})).status_code == 201
    await fill(database, 10)
    for wanted in ({}, {"event_type": "upload"}, {"event_type": "upload", "file_id": str(FILE)}):
        pages = await follow_pages(client, **wanted, limit=1000)
        assert positions(pages) == list(range(11, 311) if "file_id" in wanted else range(1, 321))
        sizes = [len(json.dumps(page)) for page in pages]
        assert max(sizes) < PAGE_BYTES * 1.1
        assert sorted(sizes)[-4] > PAGE_BYTES * 0.9


async def test_each_unusable_cursor_has_its_own_problem(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 3)
    cursor = (await get_page(client, limit=2))["cursor"]

    async def refusal(**query: str) -> tuple[int, str]:
        response = await client.get("/changes", params={"cursor": cursor, **query})
        assert response.headers["Content-Type"] == "application/problem+json"
        assert cursor not in response.text
        return response.status_code, response.json()["type"].rpartition(":")[2]

    assert await refusal(event_type="delete") == (400, "cursor-of-other-filter")
    assert await refusal(file_id=str(FILE)) == (400, "cursor-of-other-filter")
    for damaged in ("", "x", cursor[:-1], cursor + "A", cursor.swapcase(), "\0" * 36, "ü" * 36, "Latest", "a" * 20_000):
        assert await refusal(cursor=damaged) == (400, "cursor-invalid"), damaged
    async with database.transaction() as session:
        await session.execute(delete(SyncEvent).where(SyncEvent.position > 1))
        await session.execute(update(LedgerHead).values(position=1))
    assert await refusal() == (400, "cursor-ahead")
    async with database.transaction() as session:
        await session.execute(text("UPDATE ledger_identity SET ledger_id = '7d3e1f584c1c4f0e9a440b7f4f6f2f11'"))
    assert await refusal() == (400, "cursor-of-other-ledger")


async def test_deleted_events_are_reported_with_a_cursor_to_continue(
    client: httpx.AsyncClient, database: Database
) -> None:
    await fill(database, 5)
    cursors = {limit: (await get_page(client, limit=limit))["cursor"] for limit in (1, 2, 3, 5)}
    async with database.transaction() as session:
        await session.execute(delete(SyncEvent).where(SyncEvent.position <= 3))
    for limit in (1, 2):
        response = await client.get("/changes", params={"cursor": cursors[limit]})
        assert (response.status_code, response.json()["type"]) == (410, "urn:sync-service:problem:cursor-gone")
        assert response.json()["oldest_position"] == 4
        assert positions([await get_page(client, cursor=response.json()["cursor"])]) == [4, 5]
    assert positions([await get_page(client, cursor=cursors[3])]) == [4, 5]
    beginning = await get_page(client)
    assert (positions([beginning]), beginning["from_position"]) == ([4, 5], 4)
    async with database.transaction() as session:
        await session.execute(delete(SyncEvent))
    gone = await client.get("/changes", params={"cursor": cursors[3]})
    assert (gone.status_code, gone.json()["oldest_position"]) == (410, 6)
    for page in (await get_page(client), await get_page(client, cursor=cursors[5])):
        assert (page["from_position"], page["to_position"], page["has_more"]) == (6, 5, False)


WRONG_QUERIES = [
    *(
        "limit=0",
        "limit=-1",
        "limit=1000000000",
        "limit=1e3",
        "limit=",
        "limit=ten",
        "limit=%00",
        "limit=1&limit=2",
    ),
    *("wait=61", "wait=-1", "wait=nan", "wait=0.5", "wait=inf", "wait=", "wait=1&wait=1"),
    *(
        "event_type=foo",
        "event_type=",
        "event_type=delete&event_type=foo",
        "event_type=delete&" * 3 + "event_type=update",
    ),
    *(
        "file_id=1",
        "file_id=",
        f"file_id={FILE}&file_id={FILE}",
        "cursor=a&cursor=b",
        "position=3",
        "curser=latest",
    ),
]


@on_sqlite
async def test_other_nonsense_is_refused_and_not_echoed(client: httpx.AsyncClient) -> None:
    for query in WRONG_QUERIES:
        response = await client.get(f"/changes?{query}")
        assert response.status_code == 422, query
        assert response.json()["errors"], query
        assert "foo" not in response.text
        assert "1000000000" not in response.text


@on_sqlite
async def test_a_token_is_needed(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/changes")).status_code == 401
