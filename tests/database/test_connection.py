"""A session is what the service needs, whatever an operator has set for the server, the database or the role."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.engine import Database
from app.database.opening import NotDurable, check_durability
from tests.conftest import MakeSettings
from tests.events.support import add_events, read_ledger
from tests.support.marks import on_postgresql
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

HOSTILE = {
    "synchronous_commit": "off",
    "default_transaction_isolation": "'repeatable read'",
    "timezone": "'Asia/Kathmandu'",
    "standard_conforming_strings": "off",
    "statement_timeout": "'59min'",
    "lock_timeout": "'59min'",
    "idle_in_transaction_session_timeout": "'59min'",
    "idle_session_timeout": "'59min'",
    "transaction_timeout": "'59min'",
}
NEEDED = {
    "synchronous_commit": "on",
    "transaction_isolation": "read committed",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
pytestmark = [on_postgresql, pytest.mark.parametrize("prepared", [True, False], ids=["direct", "pooler"])]


@pytest.fixture
async def database(make_settings: MakeSettings, prepared: bool) -> AsyncIterator[Database]:
    """The database under test, without start-up parameters as behind PgBouncer when not `prepared`."""
    database = Database(make_settings(database_prepared_statements=prepared))
    yield database
    await database.close()


async def show(connection: AsyncConnection | AsyncSession, name: str) -> str:
    return str(await connection.scalar(text("SELECT current_setting(:name, true)").bindparams(name=name)))


async def change(postgres: PostgresServer, url: str, **values: str) -> None:
    """Change what new sessions of the database begin with; a name that this version lacks is left out."""
    known = postgres.sql("SELECT string_agg(name, ' ') FROM pg_settings").lower().split()
    name = url.rpartition("/")[2]
    changes = (f"ALTER DATABASE {name} SET {one} = {value}" for one, value in values.items() if one in known)
    await asyncio.to_thread(postgres.sql, "; ".join(changes))


async def test_every_session_is_what_the_service_needs(
    database: Database, postgres: PostgresServer, database_url: str
) -> None:
    await change(postgres, database_url, **HOSTILE)
    async with database.transaction() as session:
        in_transaction = {name: await show(session, name) for name in NEEDED}
    async with database.append() as connection:
        in_append = {name: await show(connection, name) for name in NEEDED}
    async with database.read() as session:
        in_read = {name: await show(session, name) for name in NEEDED}
    needed = NEEDED | {name: "None" for name in NEEDED if in_read[name] == "None"}
    assert in_transaction == in_append == in_read == needed
    assert set(NEEDED) - {"transaction_timeout", "idle_session_timeout"} <= {
        name for name, value in in_read.items() if value != "None"
    }


async def test_the_server_notices_within_20_seconds_that_a_client_has_vanished(
    database: Database, prepared: bool
) -> None:
    """Behind a pooler that is the pooler's business."""
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    async with database.read() as session:
        assert ([await show(session, name) for name in names] == ["10", "5", "2", "20000"]) is prepared


async def test_a_commit_is_never_confirmed_before_it_is_on_disk(
    database: Database, postgres: PostgresServer, database_url: str
) -> None:
    for configured in ("off", "local", "remote_write", "on", "remote_apply"):
        await change(postgres, database_url, synchronous_commit=configured)
        await database.engine.dispose()
        await check_durability(database)
        async with database.append() as connection:
            kept = "remote_apply" if configured == "remote_apply" else "on"
            assert await show(connection, "synchronous_commit") == kept, configured


async def is_reloaded(connection: AsyncConnection) -> bool:
    """Whether this backend knows the server's new value, which its own setting hides."""
    query = "SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'"
    value: str = await connection.scalar(text(query))
    return value == "off"


async def test_a_reload_changes_nothing_for_connections_that_are_open(
    frail_postgres: PostgresServer, make_settings: MakeSettings, prepared: bool
) -> None:
    url = frail_postgres.url("postgres")
    database = Database(make_settings(database_url=url, database_prepared_statements=prepared))
    async with database.append() as connection:
        backend = await connection.scalar(text("SELECT pg_backend_pid()"))
    frail_postgres.sql("ALTER SYSTEM SET synchronous_commit = off")
    try:
        frail_postgres.sql("SELECT pg_reload_conf()")
        async with database.append() as connection:
            await until(lambda: is_reloaded(connection))
        async with database.append() as connection:
            assert await connection.scalar(text("SELECT pg_backend_pid()")) == backend
            assert await show(connection, "synchronous_commit") == "on"
    finally:
        frail_postgres.sql("ALTER SYSTEM RESET synchronous_commit")
        frail_postgres.sql("SELECT pg_reload_conf()")
        await database.close()


async def test_a_server_without_fsync_is_refused(
    frail_postgres: PostgresServer, make_settings: MakeSettings, prepared: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal is the only log line, and the check does not write it."""
    url = frail_postgres.url("postgres")
    frail_postgres.sql("ALTER SYSTEM SET fsync = off")
    frail_postgres.sql("SELECT pg_reload_conf()")
    database = Database(make_settings(database_url=url, database_prepared_statements=prepared))

    async def is_refused() -> bool:
        try:
            await check_durability(database)
        except NotDurable as refusal:
            return "fsync = off" in str(refusal)
        return False

    try:
        await until(is_refused)  # the reload reaches each backend at its next statement
        assert "writes refused" not in caplog.text
    finally:
        frail_postgres.sql("ALTER SYSTEM RESET fsync")
        frail_postgres.sql("SELECT pg_reload_conf()")
        await database.close()


async def test_the_search_path_of_the_first_connection_is_kept(
    database: Database, postgres: PostgresServer, database_url: str
) -> None:
    async with database.read() as session:
        first = await show(session, "search_path")
    await change(postgres, database_url, search_path="elsewhere")
    await database.engine.dispose()
    await add_events(database, (uuid4(), "upload"))
    async with database.read() as session:
        assert await show(session, "search_path") == first


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_what_is_read_after_a_lock_includes_what_its_last_holder_committed(
    database: Database, postgres: PostgresServer, database_url: str, isolation: str
) -> None:
    await change(postgres, database_url, default_transaction_isolation=f"'{isolation}'")
    async with database.transaction() as session:
        await session.execute(text("SELECT 1"))  # a snapshot of the whole transaction would be taken here
        await add_events(database, (uuid4(), "upload"))
        assert await session.scalar(text("SELECT count(*) FROM sync_events")) == 1
    await asyncio.gather(*(add_events(database, (uuid4(), "upload")) for _ in range(20)))
    assert len(await read_ledger(database)) == 21


async def test_options_of_the_url_reach_the_server_and_the_socket(
    make_settings: MakeSettings, database_url: str, prepared: bool
) -> None:
    options = "application_name=mine&options=-c%20geqo%3Doff&keepalives_idle=33&connect_timeout=5"
    url = f"{database_url}?{options}"
    database = Database(make_settings(database_url=url, database_prepared_statements=prepared))
    async with database.connection() as connection:
        shown = [await connection.scalar(text(f"SHOW {name}")) for name in ("application_name", "geqo", "timezone")]
        driver: Any = (await connection.get_raw_connection()).driver_connection
        peer = driver._transport.get_extra_info("socket")
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    assert shown == ["mine", "off", "UTC"]
    await database.close()
