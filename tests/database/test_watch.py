"""Who holds locks that the service needs is logged once, and the age of the oldest snapshot is measured."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.database.watch import LockWatch
from app.metrics import DatabaseMetrics
from tests.conftest import MakeSettings
from tests.deliveries.support import add_subscription
from tests.support.marks import on_postgresql

pytestmark = on_postgresql

MESSAGE = "a transaction holds locks that the service waits for"


@pytest.fixture
async def other(make_settings: MakeSettings) -> AsyncIterator[Database]:
    """Another program in the same database."""
    database = Database(make_settings())
    yield database
    await database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM sweep_cursor FOR UPDATE",
        "SELECT 1 FROM ledger_head FOR UPDATE",
        "SELECT 1 FROM subscriptions FOR UPDATE",
        "ALTER TABLE subscriptions ADD COLUMN of_others integer",
    ],
)
async def test_the_holder_of_a_lock_is_logged_once(
    database: Database, other: Database, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    await add_subscription(database)
    watch = LockWatch(database, DatabaseMetrics())
    async with other.transaction() as session:
        await session.execute(text("SET LOCAL application_name = 'a-report'"))
        await session.execute(text(statement))
        await watch.run_once()
        assert MESSAGE not in caplog.text, "it may be about to end"
        for _ in range(3):
            await watch.run_once()
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
    [record] = [record for record in caplog.records if MESSAGE in record.getMessage()]
    assert record.levelname == "WARNING"
    assert "a-report" in record.getMessage()
    assert str(pid) in record.getMessage()


async def test_transactions_one_after_the_other_and_readers_are_not_logged(
    database: Database, other: Database, caplog: pytest.LogCaptureFixture
) -> None:
    watch = LockWatch(database, DatabaseMetrics())
    async with database.connection() as reader:
        await reader.execute(text("BEGIN"))
        await reader.execute(text("SELECT * FROM subscriptions"))
        for _ in range(3):
            async with other.transaction() as session:
                await session.execute(text("SELECT 1 FROM sweep_cursor FOR UPDATE"))
                await watch.run_once()
        await reader.execute(text("ROLLBACK"))
    assert MESSAGE not in caplog.text


async def test_the_age_of_the_oldest_snapshot_is_measured(database: Database, other: Database) -> None:
    metrics = DatabaseMetrics()
    watch = LockWatch(database, metrics)
    async with other.connection() as connection:
        await connection.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        await connection.execute(text("SELECT pg_sleep(0.2)"))
        await watch.run_once()
        assert metrics.oldest_snapshot._value.get() > 0.2
        await connection.execute(text("ROLLBACK"))
    await watch.run_once()
    assert metrics.oldest_snapshot._value.get() < 0.2
