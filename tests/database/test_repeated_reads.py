"""A read survives a connection that was cut and a plan that is out of date; a write is never repeated."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import describe
from app.metrics import DatabaseMetrics
from tests.conftest import MakeSettings
from tests.events.support import add_events
from tests.support.marks import on_postgresql
from tests.support.postgres import PostgresServer
from tests.support.relay import Relay
from tests.support.waiting import until

pytestmark = on_postgresql

CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'sync-service'"
CUT_WAITING = text(
    "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE wait_event IN ('PgSleep', 'advisory') "
    "AND datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def operator(make_settings: MakeSettings) -> AsyncIterator[Database]:
    """Somebody else in the same database."""
    database = Database(make_settings())
    yield database
    await database.close()


@pytest.fixture(params=[True, False], ids=["prepared", "pooled"])
async def warm(make_settings: MakeSettings, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A pool of two connections, with and without prepared statements."""
    database = Database(make_settings(database_pool_size=2, database_prepared_statements=request.param))
    yield database
    await database.close()


async def read(database: Database, statement: str) -> object:
    async with database.read() as session:
        return await session.scalar(text(statement))


async def test_a_plan_that_is_out_of_date(warm: Database, operator: Database) -> None:
    await run(operator, "CREATE TABLE sizes AS SELECT 7 AS size")
    reads = [read(warm, "SELECT size FROM sizes") for _ in range(2)]
    assert await asyncio.gather(*reads) == [7, 7]
    await run(operator, "ALTER TABLE sizes ALTER COLUMN size TYPE text")
    async with warm.connection() as connection:
        assert await connection.scalar(text("SELECT size FROM sizes")) == "7"
    reads = [read(warm, "SELECT size FROM sizes") for _ in range(2)]
    assert await asyncio.gather(*reads) == ["7", "7"]


async def test_a_plan_that_is_out_of_date_in_a_transaction_is_no_error_of_ours(
    database: Database, operator: Database
) -> None:
    await run(operator, "CREATE TABLE sizes AS SELECT 7 AS size")
    for failing in (False, True, False):
        if failing:
            await run(operator, "ALTER TABLE sizes ALTER COLUMN size TYPE text")
            with pytest.raises(DatabaseUnavailable):
                await run(database, "SELECT size FROM sizes")
        else:
            await run(database, "SELECT size FROM sizes")


async def run(database: Database, statement: str) -> None:
    async with database.transaction() as session:
        await session.execute(text(statement))


async def test_idle_connections_that_were_cut_cost_nothing(make_settings: MakeSettings, operator: Database) -> None:
    metrics = DatabaseMetrics()
    database = Database(make_settings(database_pool_size=3), metrics)
    for _ in range(2):
        await asyncio.gather(*(read(database, "SELECT 1 FROM pg_sleep(0.05)") for _ in range(3)))
        async with operator.transaction() as session:
            others = f"{CUT} AND pid <> pg_backend_pid() AND datname = current_database() AND xact_start IS NULL"
            assert await session.scalar(text(others)) >= 3
        await asyncio.sleep(0.05)  # for the ends of the connections to arrive
        await add_events(database)
        assert await read(database, "SELECT 1") == 1
    assert metrics.in_use._value.get() == 0
    await database.close()


async def test_a_read_whose_connection_is_cut_is_repeated_once(
    warm: Database, operator: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with operator.transaction() as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(1)"))
        waiting = asyncio.create_task(read(warm, "SELECT 5 FROM pg_advisory_xact_lock(1)"))
        await cut_waiting(operator)
    assert await waiting == 5
    assert caplog.text.count("read repeated") == 1
    sleeping = asyncio.create_task(read(warm, "SELECT 5 FROM pg_sleep(30)"))
    await cut_waiting(operator)
    await cut_waiting(operator)
    with pytest.raises(DatabaseUnavailable):
        await sleeping


async def test_a_read_that_cannot_connect_again_is_unavailable(
    warm: Database, operator: Database, postgres: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    await read(warm, "SELECT 1")
    sleeping = asyncio.create_task(read(warm, "SELECT 5 FROM pg_sleep(30)"))
    async with operator.read() as session:
        await session.execute(text("SELECT 1"))
        await asyncio.to_thread(postgres.sql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "template1")
        await until(lambda: _cut_waiting(session))
    with pytest.raises(DatabaseUnavailable):
        await sleeping


async def test_a_write_whose_connection_is_cut_is_not_repeated(warm: Database, operator: Database) -> None:
    writing = asyncio.create_task(run(warm, "SELECT 5 FROM pg_sleep(30)"))
    await cut_waiting(operator)
    with pytest.raises(DatabaseUnavailable):
        await writing


async def test_a_read_into_a_silent_connection_is_repeated_soon(
    make_settings: MakeSettings, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel reports that nobody acknowledges the statement; by default after 5 seconds."""
    async with Relay(postgres.port) as relay:
        url = f"postgresql://postgres@127.0.0.1:{relay.port}/postgres?tcp_user_timeout=300"
        database = Database(make_settings(database_url=url))
        assert await read(database, "SELECT 1") == 1
        with relay.silent():
            pass
        started = time.monotonic()
        assert await read(database, "SELECT 2") == 2
        assert 0.2 < time.monotonic() - started < 5
        await database.close()
    assert caplog.text.count("read repeated") == 1


async def test_a_server_that_does_not_respond_is_named(make_settings: MakeSettings, postgres: PostgresServer) -> None:
    async with Relay(postgres.port) as relay:
        url = f"postgresql://postgres@127.0.0.1:{relay.port}/postgres"
        database = Database(make_settings(database_url=url, database_connect_timeout=0.3))
        with relay.silent(), pytest.raises(DatabaseUnavailable) as caught:
            await read(database, "SELECT 1")
        await database.close()
        expected = f"TimeoutError: the server at 127.0.0.1, port {relay.port} did not respond within 0.3 s"
        assert describe(caught.value.__cause__ or caught.value) == expected


async def cut_waiting(operator: Database) -> None:
    """Cut the connection that sleeps or waits for a lock, once it does."""
    async with operator.read() as session:
        await until(lambda: _cut_waiting(session))


async def _cut_waiting(session: AsyncSession) -> bool:
    return bool(await session.scalar(CUT_WAITING))
