"""A ledger that lost its last events and has others at their positions: every follower is told, connected or not."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.changes import repository
from app.changes.cursor import LENGTHS, WITH_EVENT, WITHOUT_EVENT
from app.database.engine import Database
from app.main import create_app
from tests.changes.sse import open_stream
from tests.changes.support import FILE, fill, get_page, positions, replace_end
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

LOST = (410, "urn:sync-service:problem:cursor-of-lost-event")
Serve = Callable[[int], Any]


async def refusal(client: httpx.AsyncClient, path: str = "/changes", **query: Any) -> tuple[int, str]:
    """The status and the type of the problem."""
    response = await client.get(path, params=query)
    return response.status_code, response.json().get("type", "")


@pytest.fixture
def serve(make_settings: MakeSettings, tokens: TokenFactory) -> Serve:
    """A replica in this process that writes cursors of one version."""

    @asynccontextmanager
    async def serve(version: int) -> AsyncIterator[httpx.AsyncClient]:
        settings = make_settings(changes_cursor_version=version, changes_poll_interval=0.01)
        async with serve_in_process(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {tokens.token()}"
            yield client

    return serve


async def test_a_follower_that_slept_hears_of_it(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 10)
    cursors = {limit: (await get_page(client, limit=limit))["cursor"] for limit in (7, 8, 10)}
    await replace_end(database, keep=7, new=1)
    assert await refusal(client, cursor=cursors[10]) == (400, "urn:sync-service:problem:cursor-ahead")
    await fill(database, 3)
    for limit in (8, 10):
        for path in ("/changes", "/changes/stream"):
            assert await refusal(client, path, cursor=cursors[limit]) == LOST
        assert await refusal(client, cursor=cursors[limit], wait=1) == LOST
    response = await client.get("/changes/stream", headers={"Last-Event-ID": cursors[10]})
    assert (response.status_code, response.json()["type"]) == LOST
    assert response.json()["oldest_position"] == 1
    assert positions([await get_page(client, cursor=response.json()["cursor"])]) == list(range(1, 12))
    assert positions([await get_page(client, cursor=cursors[7])]) == [8, 9, 10, 11], "nothing before it is lost"


@pytest.mark.parametrize(
    "wanted",
    [{"event_type": "delete"}, {"file_id": str(FILE)}, {"event_type": "delete", "file_id": str(FILE)}],
    ids=str,
)
async def test_the_event_may_be_one_that_the_filter_leaves_out(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]
) -> None:
    monkeypatch.setattr(repository, "WINDOW_POSITIONS", 4)
    monkeypatch.setattr(repository, "WINDOW_FILE_EVENTS", 4)
    await fill(database, 6, file_id=FILE)
    await fill(database, 2)
    pages = [await get_page(client, **wanted, limit=4)]
    while pages[-1]["has_more"]:
        pages.append(await get_page(client, **wanted, limit=4, cursor=pages[-1]["cursor"]))
    pages.append(await get_page(client, **wanted, cursor="latest"))
    assert {4, 8} <= {page["to_position"] for page in pages}
    await replace_end(database, keep=3, new=6)
    for page in pages:
        assert await refusal(client, **wanted, cursor=page["cursor"]) == LOST, page["to_position"]


async def test_a_cursor_without_an_event_goes_on(client: httpx.AsyncClient, database: Database, serve: Serve) -> None:
    empty = (await get_page(client))["cursor"]
    assert len(empty) == LENGTHS[WITHOUT_EVENT]
    await fill(database, 5)
    async with serve(WITHOUT_EVENT) as old:
        of_old = (await get_page(old, limit=3))["cursor"]
    await replace_end(database, keep=0, new=6)
    assert positions([await get_page(client, cursor=empty)]) == [1, 2, 3, 4, 5, 6]
    page = await get_page(client, cursor=of_old, limit=1)
    assert (positions([page]), len(page["cursor"])) == ([4], LENGTHS[WITH_EVENT])
    await replace_end(database, keep=3, new=2)
    assert await refusal(client, cursor=page["cursor"]) == LOST


async def test_a_cursor_of_version_1_learns_its_event_while_nothing_is_new(
    client: httpx.AsyncClient, database: Database, serve: Serve
) -> None:
    await fill(database, 3)
    async with serve(WITHOUT_EVENT) as old:
        of_old = (await get_page(old))["cursor"]
    cursor = (await get_page(client, cursor=of_old))["cursor"]
    assert (len(of_old), len(cursor)) == (LENGTHS[WITHOUT_EVENT], LENGTHS[WITH_EVENT])
    await replace_end(database, keep=2, new=2)
    assert await refusal(client, cursor=cursor) == LOST


async def test_one_feed_is_followed_over_both_versions(database: Database, serve: Serve) -> None:
    """Page by page and by long poll, of replicas that write different versions, each change comes once."""
    seen: list[int] = []
    lengths = set()
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(serve(version)) for version in (WITHOUT_EVENT, WITH_EVENT)]
        cursor: str | None = None
        for turn in range(12):
            await fill(database, 3)
            query = {"cursor": cursor} if cursor else {}
            page = await get_page(replicas[turn % 2], **query, limit=2 + turn % 2, wait=5 * (turn > 8))
            seen += positions([page])
            cursor = page["cursor"]
            lengths.add(len(cursor))
        while len(seen) < 36:
            page = await get_page(replicas[len(seen) % 2], cursor=cursor)
            seen += positions([page])
            cursor = page["cursor"]
    assert seen == list(range(1, 37))
    assert lengths == set(LENGTHS.values())


@pytest.mark.parametrize("version", [WITHOUT_EVENT, WITH_EVENT])
@pytest.mark.parametrize("query", [{}, {"event_type": "delete"}], ids=str)
async def test_a_long_poll_that_waits_hears_of_it(
    database: Database, serve: Serve, version: int, query: dict[str, str]
) -> None:
    await fill(database, 10)
    async with serve(version) as client:
        poll = asyncio.create_task(client.get("/changes", params={"cursor": "latest", "wait": 30, **query}))
        await until(lambda: _is_awake(client))
        # In one transaction: no look at the ledger can find it shorter.
        await replace_end(database, keep=7, new=6)
        response = await asyncio.wait_for(poll, 20)
        assert (response.status_code, response.json().get("type")) == LOST


async def _is_awake(client: httpx.AsyncClient) -> bool:
    return 'sync_changes_followers{kind="long_poll"} 1.0' in (await client.get("/metrics")).text


async def test_a_stream_that_waits_ends_and_its_last_id_is_refused(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient
) -> None:
    await fill(database, 10)
    async with open_stream(outside, service.url) as stream, open_stream(outside, service.url, file_id=FILE) as other:
        for _ in range(10):
            await stream.next_of("change")
        await other.next()
        while (await other.next()).comment != "keep-alive":
            pass
        await replace_end(database, keep=7, new=3)  # as long as before
        for each in (stream, other):
            last = await each.next_of("reconnect")
            assert json.loads(last.data) == {"reason": "cursor-of-lost-event"}
            query = {"file_id": str(FILE)} if each is other else {}
            response = await outside.get(
                f"{service.url}/changes/stream", params=query, headers={"Last-Event-ID": last.id}
            )
            assert (response.status_code, response.json()["type"]) == LOST


async def test_a_row_that_is_gone_contradicts_no_cursor(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 5)
    cursor = (await get_page(client, limit=3))["cursor"]
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM sync_events WHERE position <= 3"))
    assert positions([await get_page(client, cursor=cursor)]) == [4, 5]
