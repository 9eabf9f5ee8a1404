"""Few large pages are under way at once; a client that does not read its page has a permit until it is cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import pytest

from app.database.engine import Database
from app.http import pages
from app.main import create_app
from tests.conftest import MakeSettings
from tests.events.support import add_events, open_ledger, record
from tests.support.application import serve_in_process
from tests.support.raw_http import connect
from tests.support.tokens import TokenFactory
from tests.support.uvicorn_server import port_of, run_uvicorn
from tests.support.waiting import until

FILE_ID = uuid4()
LISTS = ("/sync-events", f"/files/{FILE_ID}/events", "/changes")


@pytest.fixture
def one_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One large page is under way at once."""
    monkeypatch.setattr(pages, "LARGE_PAGES", 1)


@asynccontextmanager
async def serving(make_settings: MakeSettings, token: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serve_in_process(create_app(make_settings(database_pool_timeout=0.5))) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


async def test_every_list_refuses_a_large_page_when_no_permit_becomes_free(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LARGE_PAGES", 0)
    await add_events(database, (FILE_ID, "upload"))
    async with serving(make_settings, tokens.token()) as client:
        for path in LISTS:
            assert (await client.get(path, params={"limit": 10})).status_code == 200
            answer = await client.get(path, params={"limit": 11})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["type"] == "urn:sync-service:problem:too-many-large-pages"
        assert 'rejected_total{reason="large_pages"} 3.0' in (await client.get("/metrics")).text


@pytest.mark.usefixtures("one_permit")
async def test_a_large_page_is_the_same_as_small_ones_and_releases_its_permit(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    await add_events(database, *((FILE_ID, "update") for _ in range(120)))
    async with serving(make_settings, tokens.token()) as client:
        for path in LISTS[:2]:
            assert (await client.get(path, params={"limit": "no"})).status_code == 422
            whole = await client.get(path, params={"limit": 1000})
            first = await client.get(path, params={"limit": 60})
            rest = await client.get(path, params={"limit": 60, "offset": 60})
            assert _positions(whole) == _positions(first) + _positions(rest)
            assert len(_positions(whole)) == 120
            assert (await client.get(path, params={"limit": 200, "offset": 120})).json() == []


def _positions(page: httpx.Response) -> list[int]:
    return [event["position"] for event in page.json()]


@pytest.mark.usefixtures("one_permit")
async def test_a_long_poll_has_no_permit_while_it_waits(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    async with serving(make_settings, tokens.token()) as client:
        waiting = asyncio.create_task(client.get("/changes", params={"limit": 1000, "wait": 20}))

        async def waits() -> bool:
            return 'followers{kind="long_poll"} 1.0' in (await client.get("/metrics")).text

        await until(waits)
        assert (await client.get("/changes", params={"limit": 1000})).status_code == 200
        await add_events(database, (FILE_ID, "upload"))
        assert len((await waiting).json()["changes"]) == 1


@pytest.mark.usefixtures("one_permit")
async def test_a_client_that_does_not_read_loses_its_permit(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    """The page is larger than what the kernel takes, which is 4 MB."""
    records = [record(metadata=f'{{"a":"{"x" * 16_000}"}}') for _ in range(500)]
    await open_ledger(database).append(records)
    headers = {"Authorization": f"Bearer {tokens.token()}"}
    page = f"GET /sync-events?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n\r\n"
    application = create_app(make_settings(database_pool_timeout=0.5))
    async with (
        run_uvicorn(application, keep_alive_seconds=2) as server,
        connect(port_of(server)) as idle,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}", headers=headers) as client,
    ):

        async def status() -> int:
            return (await client.get("/sync-events", params={"limit": 1000})).status_code

        async def is_open() -> bool:
            return await status() == 200

        assert await is_open()
        await idle.send(page.encode())

        async def is_shut() -> bool:
            return await status() == 429

        await until(is_shut, 10)
        await until(is_open, 10)
