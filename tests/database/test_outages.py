"""A database that is down, hanging, read-only, full or busy gives a 503 in bounded time, and the service recovers."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import aiosqlite
import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.main import create_app
from app.operations.health import CHECK_TIMEOUT_SECONDS
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected

QUICK = {
    "database_connect_timeout": 1,
    "database_pool_timeout": 1,
    "database_lock_timeout": 1,
    "database_statement_timeout": 1,
    "database_pool_size": 2,
    "database_max_overflow": 0,
    "ledger_append_timeout": 5,
}
BOUND_SECONDS = 6
CUT_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sync-service'"


@pytest.fixture
async def postgres_client(
    frail_postgres: PostgresServer, make_settings: MakeSettings, tokens: TokenFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service on the frail server."""
    settings = make_settings(database_url=frail_postgres.url("postgres"), **QUICK)
    async with serve_in_process(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        yield client


@pytest.fixture
async def sqlite_client(
    sqlite_url: str, make_settings: MakeSettings, tokens: TokenFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service on SQLite."""
    async with serve_in_process(create_app(make_settings(database_url=sqlite_url, **QUICK))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        yield client


pytestmark = [
    pytest.mark.load,  # each answer has its time
    on_sqlite,  # each test names its own database
]


async def sql(server: PostgresServer, statement: str) -> None:
    """Run a statement without holding up the service, which may hold a lock that the statement waits for."""
    await asyncio.to_thread(server.sql, statement)


async def post(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/sync-events", json={"file_id": str(uuid4()), "event_type": "upload"})


async def expect_unavailable(request: Callable[[], Awaitable[httpx.Response]]) -> None:
    started = time.monotonic()
    answer = await request()
    assert time.monotonic() - started < BOUND_SECONDS
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"


async def expect_recovery(client: httpx.AsyncClient) -> None:
    """A broken connection in the pool may cost one answer each; a client that retries gets through."""
    answers: list[httpx.Response] = []
    for _ in range(QUICK["database_pool_size"] + 1):
        answers = [await post(client), await client.get("/sync-events")]
        if [answer.status_code for answer in answers] == [201, 200]:
            return
    pytest.fail(f"no recovery: {answers}")


async def test_a_restart_of_postgresql(postgres_client: httpx.AsyncClient, frail_postgres: PostgresServer) -> None:
    assert (await post(postgres_client)).status_code == 201
    frail_postgres.stop()
    await expect_unavailable(lambda: post(postgres_client))
    await expect_unavailable(lambda: postgres_client.get("/sync-events"))
    health = await postgres_client.get("/health")
    assert (health.status_code, health.json()["database"]) == (503, "disconnected")
    frail_postgres.start()
    await expect_recovery(postgres_client)
    assert (await get_once_connected(postgres_client)).status_code == 200


async def test_an_append_survives_a_lost_connection(
    postgres_client: httpx.AsyncClient, frail_postgres: PostgresServer
) -> None:
    assert (await post(postgres_client)).status_code == 201
    await sql(frail_postgres, CUT_CONNECTIONS)
    assert (await post(postgres_client)).status_code == 201


async def test_a_hanging_postgresql(
    postgres_client: httpx.AsyncClient, frail_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHECK_TIMEOUT_SECONDS < 1
    monkeypatch.setattr("app.operations.health.CHECK_TIMEOUT_SECONDS", 0.1)
    assert (await post(postgres_client)).status_code == 201
    with frail_postgres.suspended():
        await expect_unavailable(lambda: post(postgres_client))
        await expect_unavailable(lambda: postgres_client.get("/sync-events"))
        started = time.monotonic()
        assert (await postgres_client.get("/health")).status_code == 503
        assert time.monotonic() - started < 1
    await expect_recovery(postgres_client)


async def test_a_read_only_postgresql(postgres_client: httpx.AsyncClient, frail_postgres: PostgresServer) -> None:
    await sql(frail_postgres, "ALTER DATABASE postgres SET default_transaction_read_only = on")
    await sql(frail_postgres, CUT_CONNECTIONS)
    try:
        await expect_unavailable(lambda: post(postgres_client))
        assert (await postgres_client.get("/sync-events")).status_code == 200
    finally:
        await sql(frail_postgres, "ALTER DATABASE postgres RESET ALL")
    assert (await post(postgres_client)).status_code == 201


async def test_a_postgresql_that_lets_nobody_in(
    postgres_client: httpx.AsyncClient, frail_postgres: PostgresServer
) -> None:
    assert (await post(postgres_client)).status_code == 201
    await asyncio.to_thread(frail_postgres.sql, "ALTER DATABASE postgres ALLOW_CONNECTIONS false", "template1")
    try:
        await asyncio.to_thread(frail_postgres.sql, CUT_CONNECTIONS, "template1")
        await expect_unavailable(lambda: post(postgres_client))
        await expect_unavailable(lambda: postgres_client.get("/sync-events"))
        assert (await postgres_client.get("/health")).status_code == 503
    finally:
        await asyncio.to_thread(frail_postgres.sql, "ALTER DATABASE postgres ALLOW_CONNECTIONS true", "template1")
    await expect_recovery(postgres_client)


async def test_a_locked_head(
    postgres_client: httpx.AsyncClient, frail_postgres: PostgresServer, make_settings: MakeSettings
) -> None:
    holder = Database(make_settings(database_url=frail_postgres.url("postgres")))
    async with holder.transaction() as session:
        await session.execute(text("SELECT position FROM ledger_head FOR UPDATE"))
        await expect_unavailable(lambda: post(postgres_client))
        assert (await postgres_client.get("/sync-events")).status_code == 200
    await holder.close()
    assert (await post(postgres_client)).status_code == 201


async def test_a_postgresql_with_a_full_disk(
    postgres_client: httpx.AsyncClient, frail_postgres: PostgresServer
) -> None:
    await sql(
        frail_postgres,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON sync_events EXECUTE FUNCTION full_disk()",
    )
    await expect_unavailable(lambda: post(postgres_client))
    await sql(frail_postgres, "DROP FUNCTION full_disk CASCADE")
    assert (await post(postgres_client)).status_code == 201


async def test_a_postgresql_without_a_free_connection(
    frail_postgres: PostgresServer, make_settings: MakeSettings, tokens: TokenFactory
) -> None:
    await sql(frail_postgres, "CREATE ROLE clerk LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
    url = frail_postgres.url("postgres").replace("//postgres@", "//clerk@")
    async with serve_in_process(create_app(make_settings(database_url=url, **QUICK))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        await sql(frail_postgres, "ALTER ROLE clerk CONNECTION LIMIT 0")
        await sql(frail_postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clerk'")
        await expect_unavailable(lambda: post(client))
        await expect_unavailable(lambda: client.get("/sync-events"))
        await sql(frail_postgres, "ALTER ROLE clerk CONNECTION LIMIT -1")
        await expect_recovery(client)


async def test_an_exhausted_pool(make_settings: MakeSettings, tokens: TokenFactory, sqlite_url: str) -> None:
    database = Database(make_settings(database_url=sqlite_url, **QUICK))
    async with AsyncExitStack() as held:
        for _ in range(2):
            session = await held.enter_async_context(database.read())
            await session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable):
            async with database.read() as session:
                await session.execute(text("SELECT 1"))
    await database.close()


async def test_a_busy_sqlite(sqlite_client: httpx.AsyncClient, sqlite_url: str) -> None:
    async with aiosqlite.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None) as other:
        await other.execute("BEGIN IMMEDIATE")
        await expect_unavailable(lambda: post(sqlite_client))
        assert (await sqlite_client.get("/sync-events")).json() == []
        await other.execute("ROLLBACK")
    assert (await post(sqlite_client)).status_code == 201


async def test_a_sqlite_with_a_full_disk(start_service: Callable[..., ServiceProcess], tokens: TokenFactory) -> None:
    service = start_service()
    async with httpx.AsyncClient(base_url=service.url, timeout=10) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        assert (await post(client)).status_code == 201
        service.limit_file_size(4096)
        await expect_unavailable(lambda: post(client))
        assert (await client.get("/sync-events")).status_code == 200
        service.limit_file_size(resource.RLIM_INFINITY)
        assert (await post(client)).status_code == 201
        assert [one["position"] for one in (await client.get("/sync-events")).json()] == [2, 1]
