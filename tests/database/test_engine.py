"""Connections are set up as the promises need it."""

from uuid import uuid4

import pytest
from sqlalchemy import text

from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.events.support import add_events, read_ledger
from tests.support.marks import on_postgresql, on_sqlite

TIMEOUTS = {"statement_timeout": "7s", "lock_timeout": "6s", "idle_in_transaction_session_timeout": "9s"}
SETTINGS = {
    "database_statement_timeout": 7,
    "database_lock_timeout": 6,
    "database_idle_transaction_timeout": 9,
}


@on_sqlite
async def test_sqlite_flushes_each_commit_and_waits_for_other_writers(make_settings: MakeSettings) -> None:
    database = Database(make_settings(**SETTINGS))
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 6000}
    async with database.read() as session:
        for pragma, value in expected.items():
            assert await session.scalar(text(f"PRAGMA {pragma}")) == value, pragma
    await database.close()


@on_postgresql
@pytest.mark.parametrize("prepared", [True, False])
async def test_postgresql_bounds_every_transaction(make_settings: MakeSettings, prepared: bool) -> None:
    database = Database(make_settings(**SETTINGS, database_prepared_statements=prepared))
    async with database.transaction() as session:
        for name, value in TIMEOUTS.items():
            assert await session.scalar(text(f"SHOW {name}")) == value, name
    await database.close()


@on_postgresql
async def test_an_append_is_one_statement_of_its_own(database: Database) -> None:
    async with database.append() as connection:
        transactions = [await connection.scalar(text("SELECT pg_current_xact_id()::text")) for _ in range(2)]
    assert transactions[0] != transactions[1]


@on_postgresql
async def test_the_ledger_works_without_prepared_statements(make_settings: MakeSettings) -> None:
    database = Database(make_settings(database_prepared_statements=False))
    for _ in range(3):
        await add_events(database, (uuid4(), "upload"), (uuid4(), "delete"))
    assert [event.position for event in await read_ledger(database)] == [1, 2, 3, 4, 5, 6]
    async with database.read() as session:
        held = "SELECT count(*) FROM pg_prepared_statements "
        assert await session.scalar(text(held)) == 0
    await database.close()


async def test_a_failing_transaction_leaves_nothing_and_returns_its_connection(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            await session.execute(text("UPDATE ledger_head SET position = position + 1"))
            raise ZeroDivisionError

    for _ in range(50):
        with pytest.raises(ZeroDivisionError):
            await fail()
    async with database.read() as session:
        assert await session.scalar(text("SELECT position FROM ledger_head")) == 0
