"""The feed as server-sent events, from a real process, on both databases."""

import asyncio
import json
import signal
import time
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import delete, text

from app.database.engine import Database
from app.events.models import SyncEvent
from tests.changes.sse import EventStream, Message, open_stream
from tests.changes.support import FILE, fill
from tests.events.support import open_ledger, record
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.process import ServiceProcess
from tests.support.raw_http import connect
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

Start = Callable[..., ServiceProcess]


async def take(stream: EventStream, number: int) -> list[int]:
    """The positions of the next changes."""
    return [json.loads((await stream.next_of("change")).data)["position"] for _ in range(number)]


async def test_a_stream_begins_with_the_past_and_goes_on(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient
) -> None:
    await fill(database, 250)
    async with open_stream(outside, service.url) as stream:
        first = await stream.next()
        assert (first.event, first.data) == ("", "")
        assert 500 <= int(first.retry) <= 1500
        assert await take(stream, 250) == list(range(1, 251))
        for expected in range(251, 256):
            await fill(database, 1)
            started = time.monotonic()
            assert await take(stream, 1) == [expected]
            assert time.monotonic() - started < 20
    listed = (await outside.get(f"{service.url}/changes", params={"limit": 1})).json()["changes"][0]
    async with open_stream(outside, service.url) as stream:
        assert json.loads((await stream.next_of("change")).data) == listed


async def test_each_id_resumes_after_its_change(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient
) -> None:
    await fill(database, 3)
    async with open_stream(outside, service.url) as stream:
        ids = [(await stream.next()).id, *[(await stream.next_of("change")).id for _ in range(3)]]
    await fill(database, 1)
    for taken, last_id in enumerate(ids):
        async with open_stream(outside, service.url, last_event_id=last_id, cursor="latest") as stream:
            assert await take(stream, 4 - taken) == list(range(taken + 1, 5)), "the header wins"
        async with open_stream(outside, service.url, cursor=last_id, last_event_id="") as stream:
            assert await take(stream, 4 - taken) == list(range(taken + 1, 5))
        page = (await outside.get(f"{service.url}/changes", params={"cursor": last_id})).json()
        assert page["from_position"] == taken + 1


async def test_filters_and_the_cursor_that_moves_on_without_a_match(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient
) -> None:
    await fill(database, 3)
    async with open_stream(outside, service.url, event_type="delete", file_id=str(FILE)) as stream:
        begin = await stream.next()
        await fill(database, 3, file_id=FILE)
        quiet = await stream.next()
        while quiet.id == begin.id:
            quiet = await stream.next()
        assert (quiet.comment, quiet.event, quiet.data) == ("keep-alive", "", "")
        await fill(database, 1, file_id=FILE, event_type="delete")
        assert await take(stream, 1) == [7]
    query = {"event_type": "delete", "file_id": str(FILE), "cursor": quiet.id}
    page = (await outside.get(f"{service.url}/changes", params=query)).json()
    assert page["from_position"] > 4


@on_postgresql
async def test_many_streams_of_many_filters_share_one_reader(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient
) -> None:
    async def follow(**wanted: str) -> list[int]:
        async with open_stream(outside, service.url, cursor="latest", **wanted) as stream:
            await stream.next()
            opened.append(1)
            return await take(stream, 10 if wanted.get("event_type") else 20)

    opened: list[int] = []
    async with asyncio.TaskGroup() as group:
        every = [group.create_task(follow()) for _ in range(20)]
        deletes = [group.create_task(follow(event_type="delete")) for _ in range(20)]
        await until(lambda: len(opened) == 40)
        for _ in range(10):
            await fill(database, 1)
            await fill(database, 1, event_type="delete")
    assert [task.result() for task in every] == [list(range(1, 21))] * 20
    assert [task.result() for task in deletes] == [list(range(2, 21, 2))] * 20


@on_sqlite  # the token's end during a read is tried on both
async def test_the_token_ends_the_stream(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient, tokens: TokenFactory
) -> None:
    await fill(database, 1)
    # Ten seconds of leeway are the default.
    headers = {"Authorization": f"Bearer {tokens.token(exp=time.time() - 6)}"}
    async with httpx.AsyncClient(headers=headers) as client, open_stream(client, service.url) as stream:
        messages = [message async for message in stream]
    assert messages[-1].event == "reconnect"
    assert json.loads(messages[-1].data) == {"reason": "token-expired"}
    assert messages[-1].id == messages[1].id


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
@on_sqlite
async def test_the_end_of_the_process_ends_streams_and_long_polls_at_once(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient, ending: signal.Signals
) -> None:
    await fill(database, 1)

    async def follow() -> Message:
        async with open_stream(outside, service.url) as stream:
            assert await take(stream, 1) == [1]
            opened.append(1)
            *_, last = [message async for message in stream]
            return last

    opened: list[int] = []
    streams = [asyncio.create_task(follow()) for _ in range(10)]
    poll = asyncio.create_task(outside.get(f"{service.url}/changes?cursor=latest&wait=60"))
    await until(lambda: len(opened) == 10)
    await until(lambda: _is_waiting(outside, service, "long_poll"))
    started = time.monotonic()
    service.send(ending)
    for stream in streams:
        assert json.loads((await stream).data) == {"reason": "shutdown"}
    assert (await poll).json()["changes"] == []
    assert await asyncio.to_thread(service.wait) == 0
    assert time.monotonic() - started < 50
    assert "Traceback" not in service.output()


async def _is_waiting(outside: httpx.AsyncClient, service: ServiceProcess, kind: str, number: int = 1) -> bool:
    exposition = (await outside.get(f"{service.url}/metrics")).text
    return f'sync_changes_followers{{kind="{kind}"}} {number}.0' in exposition


async def test_a_cursor_that_becomes_invalid_ends_the_stream(
    service: ServiceProcess, database: Database, outside: httpx.AsyncClient
) -> None:
    await fill(database, 2)
    async with open_stream(outside, service.url) as stream:
        assert await take(stream, 2) == [1, 2]
        async with database.transaction() as session:
            await session.execute(text("UPDATE ledger_identity SET ledger_id = '7d3e1f584c1c4f0e9a440b7f4f6f2f11'"))
        last = await stream.next_of("reconnect")
    assert json.loads(last.data) == {"reason": "cursor-of-other-ledger"}
    response = await outside.get(f"{service.url}/changes/stream", headers={"Last-Event-ID": last.id})
    assert (response.status_code, response.json()["type"]) == (400, "urn:sync-service:problem:cursor-of-other-ledger")
    async with database.transaction() as session:
        await session.execute(delete(SyncEvent).where(SyncEvent.position == 1))
    async with open_stream(outside, service.url) as stream:
        assert await take(stream, 1) == [2]


@pytest.mark.slow
@on_sqlite
async def test_a_reader_that_does_not_read_is_cut_off_and_delays_no_other(
    start_service: Start, database: Database, outside: httpx.AsyncClient, tokens: TokenFactory
) -> None:
    service = start_service(KEEP_ALIVE_TIMEOUT="2")
    large = f'{{"text":"{"x" * 15_000}"}}'
    for _ in range(6):  # more than the kernel keeps of a response
        await open_ledger(database).append([record(metadata=large) for _ in range(100)])
    async with connect(service.port, receive_bytes=4096) as deaf:
        head = f"GET /changes/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens.token()}\r\n\r\n"
        await deaf.send(head.encode())
        await deaf.until(b"\r\n\r\n")
        async with open_stream(outside, service.url, cursor="latest") as stream:
            await stream.next()
            await fill(database, 1)
            assert await take(stream, 1) == [601]
        await until(lambda: _is_waiting(outside, service, "stream", 0))


@on_sqlite
async def test_followers_beyond_the_limit_are_refused(
    start_service: Start, database: Database, outside: httpx.AsyncClient, tokens: TokenFactory
) -> None:
    service = start_service(MAX_CHANGE_STREAMS="3", MAX_CONCURRENT_REQUESTS="3", DATABASE_POOL_TIMEOUT="0.2")
    await fill(database, 1)
    async with open_stream(outside, service.url) as one, open_stream(outside, service.url) as two:
        assert [await take(stream, 1) for stream in (one, two)] == [[1], [1]]
        for path in ("/changes/stream", "/changes?cursor=latest&wait=1"):
            response = await outside.get(f"{service.url}{path}")
            assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
            assert response.json()["type"] == "urn:sync-service:problem:concurrency-limited"
        async with open_stream(outside, service.url, token=tokens.token(sub="other")) as third:
            assert await take(third, 1) == [1]
            others = {"Authorization": f"Bearer {tokens.token(sub='third')}"}
            response = await outside.get(f"{service.url}/changes/stream", headers=others)
            assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
            assert response.json()["type"] == "urn:sync-service:problem:too-many-followers"
        pages = await asyncio.gather(*(outside.get(f"{service.url}/changes?wait=1") for _ in range(3)))
        assert [page.status_code for page in pages] == [200] * 3, "streams do not count as concurrent requests"
    await until(lambda: _is_waiting(outside, service, "stream", 0))
    exposition = (await outside.get(f"{service.url}/metrics")).text
    assert 'rejected_total{reason="followers"} 3.0' in exposition
    assert 'sync_http_requests_total{method="GET",route="/changes/stream",status="200"} 3.0' in exposition
    assert 'duration_seconds_count{method="GET",route="/changes/stream"} 2.0' in exposition, (
        "the refusals alone are timed"
    )
    assert "sync_http_requests_in_progress 1.0" in exposition


@on_sqlite
async def test_hostile_requests_get_problem_details(service: ServiceProcess, outside: httpx.AsyncClient) -> None:
    async def status(query: str = "", *last_event_ids: bytes) -> int:
        headers = [(b"Last-Event-ID", one) for one in last_event_ids]
        response = await outside.get(f"{service.url}/changes/stream{query}", headers=headers)
        assert response.headers["Content-Type"] == "application/problem+json"
        return response.status_code

    assert await status("?cursor=x") == 400
    assert await status("?cursor=latest", b"x") == 400
    assert await status("", "ü".encode()) == 400
    assert await status("", b"\xff" * 36) == 400
    assert await status("", b"a" * 20_000) == 400
    assert await status("", b"a", b"b") == 422
    assert await status("", b"a" * 1_000_000) == 431
    for query in ("?limit=1", "?wait=1", "?event_type=foo", "?file_id=1", "?cursor=a&cursor=b"):
        assert await status(query) == 422
    async with connect(service.port) as connection:
        await connection.send(b"GET /changes/stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: a\0b\r\n\r\n")
        assert (await connection.answer()).status == 400
    async with httpx.AsyncClient() as anonymous:
        assert (await anonymous.get(f"{service.url}/changes/stream")).status_code == 401


@on_sqlite
async def test_a_stream_is_one_line_in_the_log_at_its_end(service: ServiceProcess, outside: httpx.AsyncClient) -> None:
    async with open_stream(outside, service.url) as stream:
        await stream.next()
        assert "/changes/stream" not in service.output()
    await until(lambda: "/changes/stream" in service.output())
    [line] = [json.loads(one) for one in service.output().splitlines() if "/changes/stream" in one]
    assert (line["event"], line["status"], line["subject"]) == ("request", 200, "chunker@clients")
