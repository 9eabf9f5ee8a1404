"""More requests than may be under way at once are refused; whatever ends a request frees its place."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.concurrency.fair_semaphore import ConcurrencyLimited
from app.http.middleware import PROBE_PATHS, RequestMiddleware
from app.main import create_app
from app.metrics import HttpMetrics
from tests.conftest import MakeSettings
from tests.support.marks import on_sqlite
from tests.support.waiting import until

LIMIT = 3


class Slow:
    """An application whose requests end when they are told to; health answers at once."""

    def __init__(self) -> None:
        self.under_way = 0
        self.registry = CollectorRegistry()
        self.metrics = HttpMetrics(self.registry)
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] not in PROBE_PATHS:
            self.under_way += 1
            try:
                await self.go_on.wait()
            finally:
                self.under_way -= 1
        if scope["path"] == "/bug":
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    @property
    def rejected(self) -> float | None:
        return self.registry.get_sample_value("sync_http_requests_rejected_total", {"reason": "concurrency"})

    @property
    def in_progress(self) -> float | None:
        return self.registry.get_sample_value("sync_http_requests_in_progress")


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
async def client(slow: Slow) -> AsyncIterator[httpx.AsyncClient]:
    app = RequestMiddleware(slow, LIMIT, slow.metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
        yield client


async def test_one_too_many_is_refused_and_health_is_not(client: httpx.AsyncClient, slow: Slow) -> None:
    async with asyncio.TaskGroup() as group:
        taken = [group.create_task(client.get("/")) for _ in range(LIMIT)]
        await until(lambda: slow.under_way == LIMIT)
        answer = await client.get("/", headers={"X-Request-ID": "mine"})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["X-Request-ID"] == "mine"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:sync-service:problem:too-many-requests-under-way"
        assert answer.json()["instance"] == "urn:request:mine"
        assert {(await client.get(path)).status_code for path in PROBE_PATHS} == {200}
        assert slow.rejected == 1
        slow.go_on.set()
    assert {task.result().status_code for task in taken} == {200}


async def test_places_become_free_however_a_request_ends(client: httpx.AsyncClient, slow: Slow) -> None:
    for _ in range(3):
        tasks = [asyncio.create_task(client.get(path)) for path in ("/", "/", "/bug")]
        await until(lambda: slow.under_way == LIMIT)
        tasks[0].cancel()
        with suppress(asyncio.CancelledError):
            await tasks[0]
        slow.go_on.set()
        assert [(await task).status_code for task in tasks[1:]] == [200, 500]
        slow.go_on.clear()
    assert (slow.in_progress, slow.rejected) == (0, 0)


async def test_a_long_lived_request_leaves_its_permit_to_others(slow: Slow) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            scope["state"]["open_request"].become_long_lived()
        await slow(scope, receive, send)

    transport = httpx.ASGITransport(app=RequestMiddleware(app, 1, slow.metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.get("/")) for _ in range(3)]
        await until(lambda: slow.under_way == 3)
        assert slow.in_progress == 0
        slow.go_on.set()
    assert [task.result().status_code for task in tasks] == [200, 200, 200]
    assert (slow.in_progress, slow.rejected) == (0, 0)
    assert slow.registry.get_sample_value("sync_http_request_duration_seconds_count") is None


def _are_done(tasks: Sequence[asyncio.Future[httpx.Response]], number: int) -> bool:
    return sum(task.done() for task in tasks) == number


async def test_one_subject_cannot_have_all_requests_under_way(slow: Slow) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            scope["state"]["open_request"].belong_to(scope["path"])
        except ConcurrencyLimited as error:
            await send({"type": "http.response.start", "status": error.status, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await slow(scope, receive, send)

    transport = httpx.ASGITransport(app=RequestMiddleware(app, 8, slow.metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        for _ in range(2):
            greedy = [asyncio.ensure_future(client.get("/greedy")) for _ in range(8)]
            await until(partial(_are_done, greedy, 2))
            modest = [asyncio.create_task(client.get("/modest")) for _ in range(2)]
            await until(lambda: slow.under_way == 8)
            slow.go_on.set()
            assert sorted([(await task).status_code for task in greedy]) == [200] * 6 + [429] * 2
            assert [(await task).status_code for task in modest] == [200] * 2
            slow.go_on.clear()
    assert (slow.in_progress, slow.rejected) == (0, 4)


@on_sqlite
def test_what_is_always_open_exists(make_settings: MakeSettings) -> None:
    assert create_app(make_settings()).openapi()["paths"].keys() >= PROBE_PATHS
