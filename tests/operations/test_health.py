"""Health, liveness and readiness, whatever state the database is in."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiosqlite
import httpx
from sqlalchemy import text, update

from app.database.engine import Database
from app.events.models import RetryState, SyncEvent
from app.main import create_app
from app.operations.repository import StatusRepository
from app.subscriptions.models import Delivery
from tests.conftest import Alembic, MakeSettings
from tests.deliveries.support import add_subscription, make_sweeper
from tests.events.support import add_events
from tests.support.application import serve_in_process
from tests.support.keyserver import KeyServer
from tests.support.marks import on_sqlite
from tests.support.tokens import SigningKey
from tests.support.waiting import get_once_connected, until, until_ready, until_unready


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
            status = await StatusRepository(connection).get_status()
        return timedelta(seconds=status.oldest_unprocessed_age_seconds)

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
    assert (status.unprocessed, status.oldest_unprocessed_age_seconds) == (1, 0)
    assert (status.pending_deliveries, status.oldest_pending_delivery_age_seconds) == (2, 0)
    assert timedelta(days=364) < timedelta(seconds=status.ledger_ahead_seconds) <= timedelta(days=365)
