"""Long polls return as soon as there is a change, and hold no connection meanwhile; on both databases."""

import asyncio
import time

import httpx
import pytest

from app.changes.cursor import EVERYTHING
from app.changes.feed import ChangeFeed, Page
from app.changes.service import wait_for_page
from app.changes.stream import Broadcast
from app.changes.tail import Tail
from app.database.engine import Database
from app.http.pages import PAGE_BYTES
from app.main import create_app
from tests.changes.support import FILE, fill, get_page, positions
from tests.conftest import MakeSettings
from tests.events.support import open_ledger, record
from tests.support.application import serve_in_process
from tests.support.process import ServiceProcess
from tests.support.raw_http import connect
from tests.support.tokens import TokenFactory
from tests.support.waiting import until


async def test_existing_changes_are_returned_at_once(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 3)
    started = time.monotonic()
    assert positions([await get_page(client, wait=60)]) == [1, 2, 3]
    assert time.monotonic() - started < 20


async def test_a_response_comes_with_the_event(client: httpx.AsyncClient, database: Database) -> None:
    await fill(database, 3)
    waiting = [asyncio.create_task(get_page(client, cursor="latest", wait=60)) for _ in range(20)]
    for_file = asyncio.create_task(get_page(client, cursor="latest", file_id=str(FILE), wait=60))
    await until(lambda: followers(client, "long_poll", 21))
    await fill(database, 1)
    for page in await asyncio.gather(*waiting):
        assert (positions([page]), page["from_position"], page["to_position"]) == ([4], 4, 4)
    assert not for_file.done()
    await fill(database, 1, file_id=FILE)
    page = await for_file
    assert (positions([page]), page["from_position"], page["to_position"]) == ([5], 4, 5)


async def followers(client: httpx.AsyncClient, kind: str, number: int) -> bool:
    """Whether so many followers of a kind are connected."""
    return f'sync_changes_followers{{kind="{kind}"}} {number}.0' in (await client.get("/metrics")).text


async def test_a_disconnect_frees_the_follower_slot_at_once(
    service: ServiceProcess, outside: httpx.AsyncClient
) -> None:
    path, query = "/changes", "?cursor=latest&wait=60"
    async with connect(service.port) as connection:
        head = f"GET {path}{query} HTTP/1.1\r\nHost: here\r\nAuthorization: {outside.headers['Authorization']}\r\n\r\n"
        await connection.send(head.encode())
        await until(lambda: _is_said(service, outside, 'sync_changes_followers{kind="long_poll"} 1.0'))
    async with asyncio.timeout(20):
        await until(lambda: _is_said(service, outside, 'sync_changes_followers{kind="long_poll"} 0.0'))
        await until(lambda: _is_said(service, outside, f'{{method="GET",route="{path}",status="499"}} 1.0'))
    assert "Traceback" not in service.output()


async def _is_said(service: ServiceProcess, outside: httpx.AsyncClient, line: str) -> bool:
    return line in (await outside.get(f"{service.url}/metrics")).text


@pytest.mark.slow
async def test_the_end_of_the_wait_brings_an_empty_page_that_has_moved_on(
    client: httpx.AsyncClient, database: Database
) -> None:
    await fill(database, 3)
    before = await get_page(client, file_id=str(FILE))
    waiting = asyncio.create_task(get_page(client, cursor=before["cursor"], file_id=str(FILE), wait=2))
    await until(lambda: followers(client, "long_poll", 1))
    await fill(database, 2)
    page = await waiting
    assert (page["changes"], page["from_position"], page["to_position"], page["has_more"]) == ([], 4, 5, False)
    assert page["cursor"] != before["cursor"]


async def test_a_waiting_long_poll_holds_no_connection(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    settings = make_settings(database_pool_size=1, database_max_overflow=0, max_concurrent_requests=2)
    async with serve_in_process(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        waiting = [asyncio.create_task(get_page(client, cursor="latest", wait=60)) for _ in range(2)]
        await until(lambda: followers(client, "long_poll", 2))
        waiting += [asyncio.create_task(get_page(client, cursor="latest", wait=60)) for _ in range(2)]
        await until(lambda: followers(client, "long_poll", 4))
        created = await client.post("/sync-events", json={"file_id": str(FILE), "event_type": "upload"})
        assert created.status_code == 201
        assert [positions([page]) for page in await asyncio.gather(*waiting)] == [[1]] * 4


def wait(
    feed: ChangeFeed, tail: Tail, first: Page, *, limit: int, broadcast: Broadcast | None = None
) -> asyncio.Task[Page]:
    """A long poll for everything after `first`, as a task."""
    broadcast = broadcast or Broadcast(tail)
    return asyncio.create_task(wait_for_page(feed, broadcast, first, EVERYTHING, limit=limit, wait_seconds=60))


async def test_a_page_from_the_ring_is_cut_at_the_limit(database: Database) -> None:
    feed, tail = ChangeFeed(database), Tail(database, poll_interval_seconds=0.01)
    first = await feed.read("latest", EVERYTHING, limit=2)
    tail.start()
    try:
        waiting = wait(feed, tail, first, limit=2)
        await until(lambda: tail.version > 0)
        await fill(database, 5)
        page = await waiting
        assert [change.position for change in page.changes] == [1, 2]
        assert (page.after, page.end.position, page.head, page.has_more) == (0, 2, 5, True)
    finally:
        await tail.stop()


async def test_a_page_of_long_events_from_the_ring_is_short_and_encoded_once(database: Database) -> None:
    feed, tail = ChangeFeed(database), Tail(database, poll_interval_seconds=0.01)
    first = await feed.read("latest", EVERYTHING, limit=1000)
    broadcast = Broadcast(tail)
    tail.start()
    try:
        waiting = [wait(feed, tail, first, limit=limit, broadcast=broadcast) for limit in (1000, 1000, 2)]
        await until(lambda: tail.version > 0)
        long = [record(metadata=f'{{"text":"{"x" * 16_000}"}}') for _ in range(100)]
        await open_ledger(database).append(long)
        one, same, short = await asyncio.gather(*waiting)
        size = sum(len(change.json) for change in one.changes)
        assert PAGE_BYTES <= size < PAGE_BYTES + 17_000
        assert (one.end.position, one.head, one.has_more) == (len(one.changes), 100, True)
        assert one.encoded is same.encoded
        assert [change.position for change in short.changes] == [1, 2]
        rest = await feed.read(one.end, EVERYTHING, limit=1000)
        assert [change.position for change in [*one.changes, *rest.changes]] == list(range(1, 101))
    finally:
        await tail.stop()


async def test_closing_ends_long_polls_at_once(database: Database) -> None:
    feed, tail = ChangeFeed(database), Tail(database, poll_interval_seconds=0.01)
    first = await feed.read(None, EVERYTHING, limit=2)
    tail.start()
    waiting = wait(feed, tail, first, limit=2)
    await until(lambda: tail.version > 0)
    await tail.stop()
    async with asyncio.timeout(10):
        assert (await waiting).changes == []
