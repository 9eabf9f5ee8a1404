"""A PostgreSQL database that would fail requests later is refused at start, in one sentence."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import text

from app.database.engine import Database
from app.database.opening import NEEDED_RIGHTS, DatabaseUnfit, check_fitness
from app.database.types import Base
from app.errors import StartupRefused
from app.main import create_app
from tests.conftest import MakeSettings
from tests.events.support import add_events, read_ledger
from tests.support.application import serve_in_process
from tests.support.marks import on_postgresql
from tests.support.postgres import PostgresServer
from tests.support.waiting import get_once_connected


@pytest.fixture
def latin1_url(postgres: PostgresServer) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@on_postgresql
async def test_a_database_that_lacks_characters_is_refused(latin1_url: str, make_settings: MakeSettings) -> None:
    with pytest.raises(StartupRefused, match="DATABASE_URL: the database stores LATIN1"):
        async with serve_in_process(create_app(make_settings(database_url=latin1_url))):
            pass


async def test_the_database_of_another_program_is_refused(database: Database, make_settings: MakeSettings) -> None:
    async with database.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'f00dfeed'"))
        await session.execute(text("ALTER TABLE ledger_head RENAME TO heads_of_others"))
    with pytest.raises(StartupRefused, match="another program's: its alembic_version is f00dfeed"):
        async with serve_in_process(create_app(make_settings())):
            pass


@pytest.fixture
def clerk_url(postgres: PostgresServer, postgres_url: str) -> Iterator[str]:
    """The database for a role that may do what the service needs, and nothing else."""
    name = postgres_url.rpartition("/")[2]
    grants = (f"GRANT {', '.join(rights)} ON {table} TO clerk" for table, rights in NEEDED_RIGHTS.items())
    postgres.sql(f"CREATE ROLE clerk LOGIN; {'; '.join(grants)}", name)
    yield postgres_url.replace("//postgres@", "//clerk@")
    postgres.sql("DROP OWNED BY clerk; DROP ROLE clerk", name)


@on_postgresql
async def test_a_role_without_a_right_is_refused_with_the_grant_that_it_lacks(
    clerk_url: str, postgres: PostgresServer, make_settings: MakeSettings
) -> None:
    settings = make_settings(database_url=clerk_url)
    async with serve_in_process(create_app(settings)) as client:
        assert (await get_once_connected(client)).status_code == 200
    database = Database(settings)
    await add_events(database, (uuid4(), "upload"))
    assert len(await read_ledger(database)) == 1
    name = clerk_url.rpartition("/")[2]
    postgres.sql("REVOKE INSERT, UPDATE ON sync_events FROM clerk; REVOKE SELECT ON alembic_version FROM clerk", name)
    missing = "GRANT SELECT ON alembic_version TO clerk; GRANT INSERT, UPDATE ON sync_events TO clerk$"
    with pytest.raises(DatabaseUnfit, match=missing):
        await check_fitness(database)
    postgres.sql("REVOKE USAGE ON SCHEMA public FROM PUBLIC", name)
    with pytest.raises(DatabaseUnfit, match="may not use any schema"):
        await check_fitness(database)
    postgres.sql("GRANT USAGE ON SCHEMA public TO PUBLIC", name)
    await database.close()


def test_the_rights_of_every_table_are_known() -> None:
    assert set(NEEDED_RIGHTS) == {"alembic_version", *Base.metadata.tables}


async def test_the_row_of_a_violated_constraint_stays_out_of_the_log(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    insert = text(
        "INSERT INTO sync_events (id, position, file_id, event_type, created_at, metadata, idempotency_key) "
        "VALUES (:id, 1, :id, NULL, CURRENT_TIMESTAMP, CAST(:metadata AS json), :key)"
    )
    values = {"id": uuid4().hex, "metadata": '{"name":"passwords.txt"}', "key": "private-key"}
    error: BaseException | None = None
    try:
        async with database.connection() as connection:
            await connection.exec_driver_sql("SELECT 1")
            await connection.execute(insert, values)
    except Exception as caught:  # noqa: BLE001 - any error of the database
        error = caught
        structlog.get_logger("tests").exception("an append failed")
    assert error is not None
    chain = []
    while error is not None:
        chain.append(f"{error} {getattr(error, 'detail', '')}")
        error = error.__cause__ or error.__context__
    told = capsys.readouterr().err + " ".join(chain)
    assert "passwords.txt" not in told
    assert "private-key" not in told
