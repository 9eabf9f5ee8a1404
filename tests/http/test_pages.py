"""Large pages are sent in slices, each a read of its own; what is being sent takes a bounded amount of memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.http import pages
from app.http.pages import LEAST_SLICE_BYTES, PAGE_BYTES, SENT_BYTES, SLICE_BYTES, PageMemory
from app.main import create_app
from tests.conftest import MakeSettings
from tests.events.support import add_events, open_ledger, record
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory
from tests.support.uvicorn_server import port_of, run_uvicorn
from tests.support.waiting import until

FILE_ID = uuid4()
EVENTS = 500


@asynccontextmanager
async def serving(make_settings: MakeSettings, token: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serve_in_process(create_app(make_settings())) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


async def add_long_events(database: Database) -> None:
    records = [record(file_id=FILE_ID, metadata=f'{{"a":"{"x" * 16_000}"}}') for _ in range(EVENTS)]
    await open_ledger(database).append(records)


def _positions(page: httpx.Response) -> list[int]:
    return [event["position"] for event in page.json()]


async def test_a_large_page_is_the_same_as_small_ones(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SENT_BYTES", 4 * LEAST_SLICE_BYTES)
    await add_events(database, *((FILE_ID, "update") for _ in range(300)))
    async with serving(make_settings, tokens.token()) as client:
        for path in ("/sync-events", f"/files/{FILE_ID}/events", "/sync-events?event_type=update"):
            whole = await client.get(path, params={"limit": 250})
            first = await client.get(path, params={"limit": 3})
            assert "content-length" not in whole.headers
            assert "content-length" in first.headers
            assert _positions(whole)[:3] == _positions(first)
            assert len(_positions(whole)) == 250
            rest = await client.get(whole.url.join(whole.links["next"]["url"]))
            assert sorted(_positions(whole) + _positions(rest)) == list(range(1, 301))
            assert "next" not in rest.links


@on_sqlite
async def test_a_page_of_the_feed_ends_early_and_its_cursor_goes_on(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    await add_long_events(database)
    async with serving(make_settings, tokens.token()) as client:
        seen: list[int] = []
        page = {"has_more": True, "cursor": None}
        while page["has_more"]:
            query = {"limit": 1000} | ({"cursor": page["cursor"]} if page["cursor"] else {})
            answer = await client.get("/changes", params=query)
            page = answer.json()
            assert len(answer.content) < PAGE_BYTES * 1.1
            assert len(answer.content) > PAGE_BYTES * 0.9 or not page["has_more"]
            seen += [change["position"] for change in page["changes"]]
            assert page["to_position"] == seen[-1]
        assert seen == list(range(1, EVENTS + 1))


def test_slices_shrink_while_much_is_being_sent() -> None:
    memory = PageMemory()
    assert memory.slice_bytes() == SLICE_BYTES
    with memory.holding(SENT_BYTES - 2 * SLICE_BYTES):
        assert memory.slice_bytes() == SLICE_BYTES // 2
        with memory.holding(SENT_BYTES):
            assert memory.slice_bytes() == LEAST_SLICE_BYTES
    assert memory.slice_bytes() == SLICE_BYTES


@asynccontextmanager
async def _reading_slowly(port: int, path: str, token: str) -> AsyncIterator[asyncio.StreamReader]:
    """A client that has read the first bytes of a response, and no more than fills its buffers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        yield reader
    finally:
        writer.close()


async def test_no_connection_is_held_while_a_client_reads_and_a_failed_slice_cuts_it_off(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    """The page is larger than what the kernel takes, which is 4 MB."""
    await add_long_events(database)
    token = tokens.token()
    async with (
        run_uvicorn(create_app(make_settings()), keep_alive_seconds=20) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}") as client,
        _reading_slowly(port_of(server), "/sync-events?limit=1000", token) as reader,
    ):

        async def is_unused() -> bool:
            return 'sync_database_connections{state="in_use"} 0.0' in (await client.get("/metrics")).text

        await until(is_unused)
        async with database.transaction() as session:
            await session.execute(text("ALTER TABLE sync_events RENAME TO renamed"))
        _head, body = (await reader.read()).split(b"\r\n\r\n", 1)
        events = b"".join(part for part in body.split(b"\r\n") if len(part) > 8)
        assert not body.endswith(b"0\r\n\r\n")
        assert len(events) < EVENTS * 16_000
        with pytest.raises(ValueError, match=r"delimiter|value|Unterminated"):
            json.loads(events)
