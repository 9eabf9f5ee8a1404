"""Health, liveness and readiness, whatever state the database is in."""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiosqlite
import httpx
import pytest
from sqlalchemy import text, update

from app.database.engine import Database
from app.events.models import RetryState, SyncEvent
from app.main import create_app
from app.operations.health import HealthMonitor
from app.operations.metrics import render
from app.operations.repository import StatusRepository
from app.subscriptions.models import Delivery
from tests.conftest import Alembic, MakeSettings
from tests.deliveries.support import add_subscription, make_sweeper
from tests.events.support import add_events
from tests.support.application import serve_in_process
from tests.support.keyserver import KeyServer
from tests.support.load import Load, run_load
from tests.support.marks import on_sqlite
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import SigningKey, TokenFactory
from tests.support.waiting import get_once_connected, until, until_ready, until_unready

PROBES = ("/health", "/health/live", "/health/ready", "/metrics")
LIMIT_SECONDS = 2  # a look has 0.8 of them


async def ask(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """The answer, which must come within a second."""
    started = time.monotonic()
    answer = await client.get(url)
    assert time.monotonic() - started < LIMIT_SECONDS, url
    return answer


async def set_state(database: Database, state: RetryState, *positions: int) -> None:
    """As the sweep would leave these events."""
    async with database.transaction() as session:
        await session.execute(
            update(SyncEvent)
            .where(SyncEvent.position.in_(positions))
            .values(retry_state=state, retry_at=None if state is RetryState.FAILED else datetime.now(UTC))
        )


async def move_cursor(database: Database, position: int) -> None:
    async with database.transaction() as session:
        await session.execute(text("UPDATE sweep_cursor SET position = :position").bindparams(position=position))


async def test_health_tells_what_waits(anonymous: httpx.AsyncClient, database: Database) -> None:
    empty = (await get_once_connected(anonymous)).json()
    assert (empty["unprocessed_events"], empty["oldest_unprocessed_age_seconds"], empty["set_aside_events"]) == (
        0,
        0,
        0,
    )
    started = time.monotonic()
    await add_events(database, *((uuid4(), "upload") for _ in range(10)))
    await move_cursor(database, 6)
    await set_state(database, RetryState.RETRYING, 2)
    await set_state(database, RetryState.WAITING, 3, 4)
    await set_state(database, RetryState.FAILED, 1)
    body = (await get_once_connected(anonymous)).json()
    assert body["version"] == "1.0.0"
    assert body["unprocessed_events"] == 4 + 1 + 2
    assert body["set_aside_events"] == 1
    # The database's clock may be a little coarser than ours.
    assert 0 <= body["oldest_unprocessed_age_seconds"] <= time.monotonic() - started + 0.1


async def test_the_age_is_that_of_the_oldest_wherever_it_waits(database: Database) -> None:
    await add_events(database, *((uuid4(), "upload") for _ in range(3)))

    async def age() -> timedelta:
        async with database.connection() as connection:
            return (await StatusRepository(connection).get_status()).oldest_unprocessed_age

    async with database.transaction() as session:
        for position, hours in ((1, 3), (2, 2), (3, 1)):
            earlier = datetime.now(UTC) - timedelta(hours=hours)
            await session.execute(update(SyncEvent).where(SyncEvent.position == position).values(created_at=earlier))
    for state in (RetryState.RETRYING, RetryState.WAITING):
        await move_cursor(database, 2)
        await set_state(database, state, 1)
        assert timedelta(hours=3) <= await age() < timedelta(hours=3, minutes=1)
    await set_state(database, RetryState.FAILED, 1)
    assert timedelta(hours=1) <= await age() < timedelta(hours=1, minutes=1), "a set-aside event waits for no sweep"
    await move_cursor(database, 3)
    assert await age() == timedelta()


@on_sqlite
async def test_health_tells_when_the_last_sweep_was(make_settings: MakeSettings) -> None:
    before = datetime.now(UTC)
    async with serve_in_process(create_app(make_settings(sync_event_process_interval=0.05))) as client:

        async def last_sweep() -> datetime | None:
            at = (await client.get("/health")).json()["last_sweep_at"]
            return at and datetime.fromisoformat(at)

        await until(lambda: _is_set(last_sweep))
        first = await last_sweep()
        assert first is not None
        assert before <= first <= datetime.now(UTC)

        async def is_later() -> bool:
            latest = await last_sweep()
            return latest is not None and latest > first

        await until(is_later)


async def _is_set(last_sweep: Callable[[], Any]) -> bool:
    return await last_sweep() is not None


async def test_readiness_says_which_check_fails(
    anonymous: httpx.AsyncClient, database: Database, database_url: str, alembic: Alembic
) -> None:
    await until_ready(anonymous)
    good = await anonymous.get("/health/ready")
    checks = {"database": "ok", "migrations": "ok", "keys": "ok", "shutdown": "ok"}
    assert (good.status_code, good.json()) == (200, {"status": "ready", "checks": checks})

    async with database.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'a_later_one'"))
    assert (await anonymous.get("/health/ready")).status_code == 200, "a later release has migrated; this one serves on"

    async with database.transaction() as session:
        await session.execute(text("DELETE FROM alembic_version"))
    bad = await until_unready(anonymous)
    assert (bad.status_code, bad.headers["Retry-After"]) == (503, "1")
    assert bad.json() == {"status": "unready", "checks": checks | {"migrations": "failed"}}

    await asyncio.to_thread(alembic, database_url, "stamp", "head")
    await until_ready(anonymous)


@on_sqlite
async def test_readiness_needs_keys_and_comes_with_them(
    make_settings: MakeSettings, issuer: KeyServer, signing_key: SigningKey
) -> None:
    issuer.fail()
    settings = make_settings(jwks_cooldown_seconds=0.05)
    try:
        async with serve_in_process(create_app(settings)) as client:
            answer = await client.get("/health/ready")
            assert (answer.status_code, answer.json()["checks"]["keys"]) == (503, "failed")
            assert (await get_once_connected(client)).status_code == 200
            issuer.serve(signing_key)
            await until_ready(client)
    finally:
        issuer.serve(signing_key)


@on_sqlite
async def test_a_broken_sqlite_is_unhealthy(anonymous: httpx.AsyncClient, database_url: str) -> None:
    async with aiosqlite.connect(database_url.removeprefix("sqlite:///")) as other:
        await other.execute("ALTER TABLE ledger_head RENAME TO elsewhere")
    for url in ("/health", "/health/ready"):
        answer = await until_unready(anonymous, url)
        assert not re.search(r"Traceback|sqlite|no such table", answer.text, re.IGNORECASE)
    assert (await anonymous.get("/health/live")).status_code == 200
    assert "sync_database_up 0.0" in (await anonymous.get("/metrics")).text


async def test_tables_that_are_not_whole_are_unhealthy(anonymous: httpx.AsyncClient, database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM sweep_cursor"))
    for url in ("/health", "/health/ready"):
        await until_unready(anonymous, url)


@on_sqlite
async def test_a_locked_sqlite_is_still_read(anonymous: httpx.AsyncClient, database_url: str) -> None:
    await until_ready(anonymous)
    async with aiosqlite.connect(database_url.removeprefix("sqlite:///"), isolation_level=None) as other:
        await other.execute("BEGIN IMMEDIATE")
        for url in ("/health", "/metrics"):
            assert (await get_once_connected(anonymous, url)).status_code == 200
        for url in ("/health/live", "/health/ready"):
            assert (await anonymous.get(url)).status_code == 200
        await other.execute("ROLLBACK")


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
    service = start_service(SHUTDOWN_DELAY="1")
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
    assert await asyncio.to_thread(service.wait) == 0


@on_sqlite
def test_a_second_signal_ends_the_delay(start_service: Callable[..., ServiceProcess]) -> None:
    service = start_service(SHUTDOWN_DELAY="3600")
    service.send(signal.SIGTERM)
    with httpx.Client(base_url=service.url) as client:
        while client.get("/health/ready").status_code == 200:
            pass
    service.send(signal.SIGTERM)
    assert service.wait() == 0


async def test_a_clock_that_was_ahead_makes_no_age_negative_and_is_reported(database: Database) -> None:
    await add_subscription(database)
    await add_events(database, (uuid4(), "upload"), (uuid4(), "upload"))
    await make_sweeper(database).run_once()
    await move_cursor(database, 1)
    later = datetime.now(UTC) + timedelta(days=365)
    async with database.transaction() as session:
        for table in (SyncEvent, Delivery):
            await session.execute(update(table).values(created_at=later))
        await session.execute(update(SyncEvent).where(SyncEvent.position == 2).values(processed=False))
    async with database.connection() as connection:
        status = await StatusRepository(connection).get_status()
    assert (status.unprocessed, status.oldest_unprocessed_age) == (1, timedelta())
    assert (status.pending_deliveries, status.oldest_pending_delivery_age) == (2, timedelta())
    assert timedelta(days=364) < status.newest_event_ahead <= timedelta(days=365)
