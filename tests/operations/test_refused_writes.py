"""A database that refuses writes leaves a replica ready and degraded; readiness is about this replica alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event, text

from app.database.engine import Database
from app.database.watch import watch_durability
from app.main import create_app
from app.operations.health import HealthMonitor
from tests.conftest import Alembic, MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.postgres import PostgresServer
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected, until, until_ready

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


async def post(client: httpx.AsyncClient) -> int:
    body = {"file_id": str(uuid4()), "event_type": "upload"}
    return (await client.post("/sync-events", json=body)).status_code


async def expect_degraded(client: httpx.AsyncClient, reason: str) -> None:
    health, ready = await get_once_connected(client), await client.get("/health/ready")
    body = health.json()
    assert (health.status_code, body["status"], body["database"], body["writes"]) == (
        200,
        "degraded",
        "connected",
        "refused",
    )
    assert reason in body["writes_refused_reason"]
    assert ready.status_code == 200
    assert "sync_writes_refused 1.0" in (await get_once_connected(client, "/metrics")).text


async def expect_healthy(client: httpx.AsyncClient) -> None:
    body = (await get_once_connected(client)).json()
    assert (body["status"], body["writes"], body["writes_refused_reason"]) == ("healthy", "accepted", None)
    assert "sync_writes_refused 0.0" in (await get_once_connected(client, "/metrics")).text


@on_postgresql
async def test_a_read_only_postgresql_is_degraded_and_ready(
    client: httpx.AsyncClient, postgres: PostgresServer, database_url: str, database: Database
) -> None:
    await until_ready(client)
    name = database_url.rpartition("/")[2]
    await asyncio.to_thread(postgres.sql, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await asyncio.to_thread(postgres.sql, CUT.format(name))
    assert await post(client) == 503
    await expect_degraded(client, "read-only")
    assert (await client.get("/sync-events")).status_code == 200

    await watch_durability(database)
    assert "read-only" in (database.writability.reason or ""), "also where nobody posts"
    await asyncio.to_thread(postgres.sql, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await watch_durability(database)
    assert database.writability.reason is None, "the connection that was read-only is not asked again"
    assert await post(client) == 201
    await expect_healthy(client)


@on_postgresql
async def test_a_full_disk_is_degraded_and_ready_until_an_append_succeeds(
    client: httpx.AsyncClient, postgres: PostgresServer, database_url: str
) -> None:
    await until_ready(client)
    name = database_url.rpartition("/")[2]
    await asyncio.to_thread(
        postgres.sql,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON sync_events EXECUTE FUNCTION full_disk()",
        name,
    )
    assert await post(client) == 503
    await expect_degraded(client, "disk")
    await asyncio.to_thread(postgres.sql, "DROP FUNCTION full_disk CASCADE", name)
    await expect_degraded(client, "disk")
    assert await post(client) == 201
    await expect_healthy(client)


@on_postgresql
async def test_a_damaged_page_of_postgresql_is_named(
    client: httpx.AsyncClient, postgres: PostgresServer, database_url: str
) -> None:
    """The view stands for a table with a broken page: PostgreSQL reports one with this code."""
    await until_ready(client)
    await asyncio.to_thread(
        postgres.sql,
        "ALTER TABLE subscriptions RENAME TO whole; CREATE FUNCTION damaged() RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = 'data_corrupted'; END $$;"
        "CREATE VIEW subscriptions AS SELECT * FROM whole WHERE (SELECT damaged())",
        database_url.rpartition("/")[2],
    )
    health, ready = await get_once_connected(client), await client.get("/health/ready")
    assert (health.status_code, health.json()["database"]) == (503, "connected")
    assert "damaged" in health.json()["writes_refused_reason"]
    assert ready.status_code == 200, "the other tables can be read"
    assert await post(client) == 201


@on_sqlite
async def test_a_full_sqlite_is_reported_until_an_append_succeeds(database: Database) -> None:
    pages = "0"

    @event.listens_for(database.engine.sync_engine, "begin")
    def _limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    async def append() -> None:
        async with database.append() as connection:
            await connection.execute(text("CREATE TABLE large AS SELECT zeroblob(1000000) AS content"))

    pages = "1"  # that is: no more than there are
    with pytest.raises(Exception, match="now"):
        await append()
    assert "disk" in (database.writability.reason or "")
    pages = "1000000"
    await append()
    assert database.writability.reason is None


@on_sqlite
async def test_fsync_that_is_switched_off_refuses_appends_until_it_is_on(
    frail_postgres: PostgresServer, make_settings: MakeSettings, tokens: TokenFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.opening.DURABILITY_SECONDS", 0.05)
    settings = make_settings(database_url=frail_postgres.url("postgres"))
    app = create_app(settings)

    async def set_fsync(value: str) -> None:
        await asyncio.to_thread(frail_postgres.sql, f"ALTER SYSTEM SET fsync = {value}")
        await asyncio.to_thread(frail_postgres.sql, "SELECT pg_reload_conf()")

    async with serve_in_process(app) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        await until_ready(client)
        assert await post(client) == 201
        try:
            await set_fsync("off")

            await get_once_connected(client, holds=lambda answer: answer.json()["writes"] == "refused")
            assert await post(client) == 503
            await expect_degraded(client, "fsync = off")
        finally:
            await set_fsync("on")

        await get_once_connected(client, holds=lambda answer: answer.json()["status"] == "healthy")
        assert await post(client) == 201
        await asyncio.to_thread(frail_postgres.sql, "ALTER SYSTEM RESET fsync")


@on_postgresql
async def test_a_schema_that_was_downgraded_is_named(
    client: httpx.AsyncClient, database_url: str, alembic: Alembic, caplog: pytest.LogCaptureFixture
) -> None:
    await until_ready(client)
    await asyncio.to_thread(alembic, database_url, "downgrade", "-1")
    health, ready = (await get_once_connected(client)).json(), await client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["checks"] | {"migrations": "failed", "database": "ok"} == ready.json()["checks"]
    assert health["database"] == "connected"
    assert "alembic upgrade head" in health["writes_refused_reason"]
    assert await post(client) == 503
    assert not any(record.exc_info for record in caplog.records), "no traceback"
    await asyncio.to_thread(alembic, database_url, "upgrade", "head")
    await until_ready(client)
    assert await post(client) == 201


@dataclass
class Time:
    """The monotonic clock, and what a test adds to it."""

    ahead_seconds: float = field(default=0)

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_seconds


async def is_healthy(monitor: HealthMonitor) -> bool:
    return (await monitor.health()).status == "healthy"


@asynccontextmanager
async def monitored(make_settings: MakeSettings, clock: Time) -> AsyncIterator[tuple[Database, HealthMonitor]]:
    """A running service's pool, and a monitor of it with that clock."""
    app = create_app(make_settings())
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        running: HealthMonitor = state["monitor"]
        monitor = HealthMonitor(
            running._prober,
            running._schema,
            running._keys,
            running._drain,
            state["database"],
            version="1",
            last_sweep_at=lambda: None,
            clock=clock,
        )
        await until(running._keys.ready)
        yield state["database"], monitor


@on_postgresql
async def test_a_replica_is_unready_after_ten_seconds_without_any_connection(
    make_settings: MakeSettings, postgres: PostgresServer, database_url: str
) -> None:
    name, clock = database_url.rpartition("/")[2], Time()

    async def is_ready() -> bool:
        return (await monitor.readiness()).status == "ready"

    async with monitored(make_settings, clock) as (database, monitor):
        await until(lambda: is_healthy(monitor))
        assert await is_ready()
        clock.ahead_seconds = 5
        await asyncio.to_thread(postgres.sql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "template1")
        try:
            await asyncio.to_thread(postgres.sql, CUT.format(name), "template1")
            assert (await monitor.health()).status == "unhealthy"
            database.responded_at = time.monotonic()
            assert await is_ready(), "not for 10 seconds yet"
            clock.ahead_seconds = 18.5
            assert not await is_ready()
            database.responded_at = clock() - 5
            assert await is_ready(), "the pool still has connections, when no further one is let in"
        finally:
            await asyncio.to_thread(postgres.sql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true", "template1")
        database.responded_at = 0
        await until(is_ready)


@on_postgresql
async def test_one_cut_connection_is_no_outage(
    make_settings: MakeSettings, postgres: PostgresServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.watch.PROBE_SECONDS", 60)
    monkeypatch.setattr("app.operations.health.CHECK_TIMEOUT_SECONDS", 60)
    name = database_url.rpartition("/")[2]
    async with monitored(make_settings, Time()) as (_database, monitor):
        for _ in range(3):
            assert (await monitor.health()).status == "healthy"
            await asyncio.to_thread(postgres.sql, CUT.format(name))
