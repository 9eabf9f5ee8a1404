"""Probes respond in time while the database hangs, the process is busy or a shutdown has begun."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text

from app.main import create_app
from app.operations.health import HealthMonitor
from app.operations.metrics import render
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.load import Load, run_load
from tests.support.marks import on_sqlite
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected, until, until_ready

PROBES = ("/health", "/health/live", "/health/ready", "/metrics")
LIMIT_SECONDS = 2  # a look has 0.8 of them


async def ask(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """The answer, which must come within a second."""
    started = time.monotonic()
    answer = await client.get(url)
    assert time.monotonic() - started < LIMIT_SECONDS, url
    return answer


@pytest.fixture
async def on_frail_postgres(
    frail_postgres: PostgresServer, make_settings: MakeSettings
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service on a server that may be maltreated."""
    async with serve_in_process(create_app(make_settings(database_url=frail_postgres.url("postgres")))) as client:
        yield client


@pytest.mark.load
@on_sqlite
async def test_every_probe_answers_while_postgresql_hangs(
    on_frail_postgres: httpx.AsyncClient, frail_postgres: PostgresServer
) -> None:
    await until_ready(on_frail_postgres)
    with frail_postgres.suspended():
        for _ in range(2):
            answers = await asyncio.gather(*(ask(on_frail_postgres, url) for url in PROBES for _ in range(10)))
            statuses = {answer.request.url.path: answer.status_code for answer in answers}
            assert statuses == {"/health": 503, "/health/live": 200, "/health/ready": 200, "/metrics": 200}
        assert "sync_database_up 0.0" in (await ask(on_frail_postgres, "/metrics")).text

    async def is_healthy() -> bool:
        return (await on_frail_postgres.get("/health")).status_code == 200

    await until(is_healthy)


@pytest.mark.load
@on_sqlite
async def test_every_probe_answers_while_postgresql_is_down(
    on_frail_postgres: httpx.AsyncClient, frail_postgres: PostgresServer
) -> None:
    await until_ready(on_frail_postgres)
    frail_postgres.stop()
    try:
        statuses = {url: (await ask(on_frail_postgres, url)).status_code for url in PROBES}
    finally:
        frail_postgres.start()
    assert statuses == {"/health": 503, "/health/live": 200, "/health/ready": 200, "/metrics": 200}
    assert (await ask(on_frail_postgres, "/health/ready")).status_code == 200


@pytest.mark.load
async def test_an_exhausted_pool_is_not_an_outage(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    settings = make_settings(database_pool_size=1, database_max_overflow=0, database_pool_timeout=5)
    app = create_app(settings)
    async with app.router.lifespan_context(app) as state, AsyncExitStack() as held:
        assert state is not None
        monitor = state["monitor"]

        async def is_ready() -> bool:
            return bool((await monitor.readiness()).status == "ready")

        await until(is_ready)  # the keys come by themselves
        session = await held.enter_async_context(state["database"].read())
        await session.execute(text("SELECT 1"))
        started = time.monotonic()
        health, readiness = await asyncio.gather(monitor.health(), monitor.readiness())
        rendered = await render(state["metrics"], monitor)
        assert time.monotonic() - started < LIMIT_SECONDS
        assert (health.status, readiness.status) == ("healthy", "ready")
        assert b'sync_database_connections{state="in_use"} 1.0' in rendered
        assert b"sync_database_connections_limit 1.0" in rendered


@pytest.mark.slow
@on_sqlite
async def test_an_event_loop_that_is_busy_is_not_an_outage(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        monitor: HealthMonitor = state["monitor"]
        await until(lambda: _is_healthy(monitor))
        asking = asyncio.create_task(monitor.health())
        await asyncio.sleep(0)
        time.sleep(LIMIT_SECONDS)  # noqa: ASYNC251 - what the test is about
        while monitor._pending and not monitor._pending.done():
            time.sleep(0.01)  # noqa: ASYNC251 - the look ends in a thread of its own
        assert (await asking).status == "healthy"


async def _is_healthy(monitor: HealthMonitor) -> bool:
    return (await monitor.health()).status == "healthy"


@pytest.mark.load
async def test_probes_answer_within_a_second_under_full_load(
    start_service: Callable[..., ServiceProcess], tokens: TokenFactory
) -> None:
    service, load, stop = start_service(), Load(), asyncio.Event()
    task = asyncio.create_task(run_load(load, service.url, tokens.token(), clients=64, until=stop))
    await until(lambda: len(load.answered) >= 200)
    # In a thread, where a probe does not wait for the clients that make the load.
    await asyncio.to_thread(_probe_often, service.url)
    stop.set()
    await task
    assert not load.refused


def _probe_often(base_url: str) -> None:
    with httpx.Client(base_url=base_url) as client:
        for _ in range(5):
            for url in PROBES:
                answer = client.get(url)
                assert (answer.status_code, answer.elapsed < timedelta(seconds=LIMIT_SECONDS)) == (200, True), url


@on_sqlite
async def test_readiness_is_red_before_the_process_stops_to_answer(
    start_service: Callable[..., ServiceProcess],
) -> None:
    service = start_service(SHUTDOWN_DELAY="3600")
    # A new connection for each request, as a load balancer that has not noticed yet would open one.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=service.url, limits=limits) as client:
        await until_ready(client)
        service.send(signal.SIGTERM)

        async def is_red() -> bool:
            return (await client.get("/health/ready")).status_code == 503

        await until(is_red)
        assert (await client.get("/health/ready")).json()["checks"]["shutdown"] == "failed"
        for url in ("/health/live", "/"):
            assert (await client.get(url)).status_code == 200
        assert (await get_once_connected(client)).status_code == 200
    assert await asyncio.to_thread(service.end) == 0


@on_sqlite
def test_a_second_signal_ends_the_delay(start_service: Callable[..., ServiceProcess]) -> None:
    service = start_service(SHUTDOWN_DELAY="3600")
    service.send(signal.SIGTERM)
    with httpx.Client(base_url=service.url) as client:
        while client.get("/health/ready").status_code == 200:
            pass
    service.send(signal.SIGTERM)
    assert service.wait() == 0
