"""Hostile connections to a real process: each is bounded, and good clients and health checks do not notice."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import psutil
import pytest

from app.http.body import LARGE_BODIES
from tests.support.marks import on_sqlite
from tests.support.process import ServiceProcess
from tests.support.raw_http import RawConnection, connect
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected, until

pytestmark = on_sqlite

EVENT = b'{"file_id":"7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11","event_type":"upload"}'
PROBES = ("/health", "/health/live", "/health/ready", "/metrics")


class Scene:
    """A service, a client that behaves, and connections to misbehave on, which last until the end of the test."""

    def __init__(self, service: ServiceProcess, token: str, stack: AsyncExitStack) -> None:
        self.service = service
        self.process = psutil.Process(service.pid)
        self._stack = stack
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.good = httpx.AsyncClient(base_url=service.url, headers=self._headers, timeout=20)

    async def connect(self) -> RawConnection:
        return await self._stack.enter_async_context(connect(self.service.port))

    def head(self, *headers: str, path: str = "/sync-events") -> bytes:
        """A POST by hand, up to its body."""
        lines = ("Host: x", *(f"{name}: {value}" for name, value in self._headers.items()), *headers)
        return "\r\n".join((f"POST {path} HTTP/1.1", *lines, "", "")).encode()

    def event(self, length: int = len(EVENT)) -> bytes:
        """The POST of an event, of this declared length."""
        return self.head(f"Content-Length: {length}") + EVENT

    async def post(self) -> int:
        return (await self.good.post("/sync-events", content=EVENT)).status_code

    async def assert_served(self) -> None:
        """An event is recorded, and the database is looked at."""
        assert await self.post() == 201
        assert (await get_once_connected(self.good)).status_code == 200

    async def assert_served_soon(self) -> None:
        """An event is recorded, and every probe answers within a second."""
        assert await self.post() == 201
        await self.assert_probed()

    async def assert_probed(self) -> None:
        for path in PROBES:
            started = time.monotonic()
            answer = await self.good.get(path)
            assert answer.status_code == 200, f"{path}: {answer.text}"
            assert time.monotonic() - started < 1, path


Begin = Callable[..., Awaitable[Scene]]


@pytest.fixture
async def begin(start_service: Callable[..., ServiceProcess], tokens: TokenFactory) -> AsyncIterator[Begin]:
    async with AsyncExitStack() as stack:

        async def begin_with(**variables: str) -> Scene:
            scene = Scene(start_service(**variables), tokens.token(), stack)
            await stack.enter_async_context(scene.good)
            return scene

        yield begin_with


@pytest.mark.load
async def test_a_thousand_idle_connections(begin: Begin) -> None:
    scene = await begin(HEADER_TIMEOUT="3", KEEP_ALIVE_TIMEOUT="30")
    idle = [await scene.connect() for _ in range(500)]
    kept = [await scene.connect() for _ in range(500)]
    for connection in kept:
        await connection.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await connection.answer()).status == 200
    await scene.assert_served_soon()
    assert scene.process.memory_info().rss < 256 * 2**20
    # What never sent anything is closed; what had an answer is kept.
    assert set(await asyncio.gather(*(connection.rest() for connection in idle))) == {b""}
    await kept[0].send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await kept[0].answer()).status == 200
    await scene.assert_served_soon()


@pytest.mark.load
async def test_slow_headers_and_floods_of_headers(begin: Begin) -> None:
    scene = await begin(HEADER_TIMEOUT="2")
    slow = [await scene.connect() for _ in range(100)]
    floods = [await scene.connect() for _ in range(20)]
    dripping = [
        asyncio.create_task(connection.send(b"GET / HTTP/1.1\r\nX: ", *[b"y"] * 20, pause_seconds=0.25))
        for connection in slow
    ]
    flooding = [
        asyncio.create_task(connection.send(b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 65_536] * 100))
        for connection in floods
    ]
    await scene.assert_served_soon()
    for connections, status in ((slow, 408), (floods, 431)):
        for answer in await asyncio.gather(*(connection.answer() for connection in connections)):
            assert answer.status == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert json.loads(answer.body)["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    await scene.assert_served_soon()
    metrics = (await scene.good.get("/metrics")).text
    assert 'sync_http_requests_rejected_total{reason="slow_headers"} 100.0' in metrics
    assert 'sync_http_requests_rejected_total{reason="large_headers"} 20.0' in metrics
    for task in (*dripping, *flooding):
        task.cancel()


async def test_bodies_that_do_not_end(begin: Begin) -> None:
    scene = await begin(BODY_TIMEOUT="1")

    async def assert_given_up(start: bytes) -> None:
        connection = await scene.connect()
        await connection.send(start)
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert await connection.rest() == b""

    await asyncio.gather(
        assert_given_up(scene.event(len(EVENT) + 1)),
        assert_given_up(scene.head("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(EVENT), EVENT)),
        assert_given_up(scene.head("Content-Length: 4000000", path="/sync-events/batch") + b'{"events":['),
    )
    await scene.assert_served()


async def test_who_leaves_in_the_middle_of_a_body_is_told_apart(begin: Begin) -> None:
    scene = await begin()
    async with connect(scene.service.port) as connection:
        await connection.send(scene.event(len(EVENT) + 1))
    requests = 'sync_http_requests_total{method="POST",route="/sync-events",status="499"} 1.0'

    async def counted() -> bool:
        return requests in (await scene.good.get("/metrics")).text

    await until(counted)
    await scene.assert_served()


async def test_a_length_that_lies(begin: Begin) -> None:
    scene = await begin()
    connection = await scene.connect()
    # The rest of a body that is too long is the next request, and is none.
    await connection.send(scene.event() + EVENT)
    assert (await connection.answer()).status == 201
    assert (await connection.answer()).status == 400
    assert await connection.rest() == b""
    for lie in (
        "Content-Length: 1_0",
        "Content-Length: +9",
        "Content-Length: 9\r\nContent-Length: 10",
        "Content-Length: 9\r\nTransfer-Encoding: chunked",
        "Content-Length: 99999999999999999999",
    ):
        connection = await scene.connect()
        await connection.send(scene.head(lie))
        assert (await connection.answer()).status == 400, lie
    connection = await scene.connect()
    await connection.send(scene.event(10**15))
    assert (await connection.answer()).status == 413
    await scene.assert_served()


async def test_pipelined_events_are_recorded_in_their_order(begin: Begin) -> None:
    scene = await begin()
    connection = await scene.connect()
    await connection.send((scene.event()) * 10)
    ids = [json.loads((await connection.answer()).body)["event_id"] for _ in range(10)]
    answer = await scene.good.get("/sync-events")
    assert [event["event_id"] for event in reversed(answer.json())] == ids


@pytest.mark.load
async def test_slow_posts_of_one_subject_leave_room_and_those_of_two_leave_health_and_metrics(
    begin: Begin, tokens: TokenFactory
) -> None:
    scene = await begin(MAX_CONCURRENT_REQUESTS="20", BODY_TIMEOUT="3")
    slow = [await scene.connect() for _ in range(20)]
    for connection in slow[:15]:
        await connection.send(scene.event(1000))

    async def is_refused_with(status: int) -> bool:
        return await scene.post() == status

    await until(lambda: is_refused_with(429), 2)
    headers = {"Authorization": f"Bearer {tokens.token(sub='other')}"}
    answer = await scene.good.post("/sync-events", content=EVENT, headers=headers)
    assert answer.status_code == 201
    own, others = (one["Authorization"].encode() for one in (scene.good.headers, headers))
    for connection in slow[15:]:
        await connection.send(scene.event(1000).replace(own, others))
    await until(lambda: is_refused_with(503), 2)
    await scene.assert_probed()
    answer = await scene.good.post("/sync-events", content=EVENT)
    assert answer.json()["type"] == "urn:sync-service:problem:too-many-requests-under-way"
    assert (answer.headers["Retry-After"], bool(answer.headers["X-Request-ID"])) == ("1", True)
    assert 'sync_http_requests_rejected_total{reason="concurrency"}' in (await scene.good.get("/metrics")).text
    assert {(await connection.answer()).status for connection in slow} == {408}
    await scene.assert_served_soon()


@pytest.mark.load
async def test_large_batches_take_turns_and_small_events_do_not_wait(begin: Begin) -> None:
    scene = await begin(DATABASE_POOL_TIMEOUT="60", LEDGER_APPEND_TIMEOUT="60", SYNC_EVENT_PROCESS_INTERVAL="3600")
    event = EVENT[:-1] + b',"metadata":{"a":"' + b"x" * 16_376 + b'"}}'
    batch = b'{"events":[' + b",".join([event] * 250) + b"]}"
    peak_bytes = 0

    async def watch() -> None:
        nonlocal peak_bytes
        while True:
            peak_bytes = max(peak_bytes, scene.process.memory_info().rss)
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    posting = [asyncio.create_task(scene.good.post("/sync-events/batch", content=batch)) for _ in range(12)]
    before_the_last = 0
    while not all(task.done() for task in posting):
        assert await scene.post() == 201
        before_the_last += 1
    watching.cancel()
    assert {(await task).status_code for task in posting} == {201}
    # A small event waits for the large ones that are written with it at most, never for those that wait for room.
    assert before_the_last > len(posting) / LARGE_BODIES
    assert peak_bytes < 256 * 2**20
    await scene.assert_served_soon()
