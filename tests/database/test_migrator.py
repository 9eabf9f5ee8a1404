"""A migration never makes the replicas wait, however long somebody holds a lock that it needs."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import AdaptedConnection, Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.database.connection import create_engine
from app.database.engine import Database
from app.database.migrator import LOCK_SECONDS, MIGRATION_LOCK, MigrationBlocked, build_index, migrate
from tests.conftest import ROOT, MakeSettings
from tests.events.support import add_events, read_ledger
from tests.support.marks import on_postgresql
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, on_postgresql]

REVISION = '''"""Of a later release."""

from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{earlier}", None, None


def upgrade() -> None:
    op.execute("ALTER TABLE {table} ADD COLUMN later integer")
'''


@asynccontextmanager
async def dump(database: Database) -> AsyncIterator[None]:
    """Somebody reads the events in one long transaction."""
    async with database.connection() as connection:
        await connection.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        await connection.execute(text("SET LOCAL application_name = 'a-dump'"))
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await connection.execute(text("SELECT count(*) FROM sync_events"))
        yield
        await connection.execute(text("ROLLBACK"))


async def read_revision(database: Database) -> str:
    async with database.read() as session:
        return str(await session.scalar(text("SELECT version_num FROM alembic_version")))


async def test_requests_go_on_while_the_migrations_of_two_releases_wait(
    database: Database, make_settings: MakeSettings, database_url: str, tmp_path: Path
) -> None:
    for name in ("alembic", "app", "alembic.ini"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    head = await read_revision(database)
    for revision, earlier, table in (("later1", head, "files"), ("later2", "later1", "sync_events")):
        script = REVISION.format(revision=revision, earlier=earlier, table=table)
        (tmp_path / "alembic" / "versions" / f"{revision}.py").write_text(script)
    environment = {**os.environ, "DATABASE_URL": database_url, "LOG_LEVEL": "WARNING", "LOG_FORMAT": "json"}
    slowest = 0.0
    async with dump(database):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", "upgrade", "head"),
            cwd=tmp_path,
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        waiting = asyncio.create_task(process.stderr.readline())
        while not waiting.done():
            started = time.monotonic()
            await add_events(database, (uuid4(), "upload"))
            await read_ledger(database)
            slowest = max(slowest, time.monotonic() - started)
        line = (await waiting).decode()
        assert "the migration waits" in line, line
        assert "a-dump" in line
        assert await read_revision(database) == "later1", "what can be migrated is"
    assert slowest < LOCK_SECONDS + 10
    assert await process.wait() == 0
    assert await read_revision(database) == "later2"


async def test_a_lock_that_is_held_for_long_ends_the_migration(database: Database, make_settings: MakeSettings) -> None:
    def alter(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE sync_events ADD COLUMN later integer"))

    async with dump(database):
        with pytest.raises(MigrationBlocked, match=r"held by pid \d+ \(a-dump\), whose query began at"):
            await migrate(make_settings(), alter, patience_seconds=0.1)
    await migrate(make_settings(), alter)
    with pytest.raises(DBAPIError, match="already exists"):
        await migrate(make_settings(), alter)


async def test_the_holder_of_a_lock_is_named_however_long_the_observer_takes_to_connect(
    database: Database, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_slow_engine(settings: Settings) -> AsyncEngine:
        engine = create_engine(settings)

        @event.listens_for(engine.sync_engine, "connect")
        def _connected(connection: AdaptedConnection, _record: object) -> None:
            connection.run_async(lambda _driver: asyncio.sleep(2 * LOCK_SECONDS))

        return engine

    def alter(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE sync_events ADD COLUMN later integer"))

    monkeypatch.setattr("app.database.migrator.create_engine", create_slow_engine)
    async with dump(database):
        with pytest.raises(MigrationBlocked, match=r"held by pid \d+ \(a-dump\)"):
            await migrate(make_settings(), alter, patience_seconds=0)


async def test_a_migration_that_ends_between_two_blocks_starts_the_patience_again(
    database: Database, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0  # each takes a second of the migrator's clock
    monkeypatch.setattr("app.database.migrator.PAUSE_SECONDS", 0)
    monkeypatch.setattr("app.database.migrator.time", SimpleNamespace(monotonic=lambda: float(runs)))

    def run(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
            connection.commit()
        connection.execute(text("ALTER TABLE sync_events ADD COLUMN later integer"))

    async with dump(database):
        with pytest.raises(MigrationBlocked):
            await migrate(make_settings(), run, patience_seconds=1)
    assert runs == 3


async def test_a_migration_succeeds_whose_observer_is_cut_off(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database() AND backend_type = 'client backend' ORDER BY backend_start DESC LIMIT 1"
    )

    def run(connection: Connection) -> None:
        assert connection.scalar(text(end))
        while "the sessions that block the migration cannot be listed" not in caplog.text:
            connection.execute(text("SELECT pg_sleep(0.01)"))

    await migrate(make_settings(), run)


async def test_one_that_waits_for_its_turn_names_the_one_that_migrates(
    database: Database,
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("app.database.migrator.REPORT_SECONDS", 0.1)
    async with database.engine.connect() as other:
        await other.execute(text("SET application_name = 'a-migration'"))
        await other.execute(text(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
        pid = await other.scalar(text("SELECT pg_backend_pid()"))
        waiting = asyncio.create_task(migrate(make_settings(), lambda _connection: None))
        await until(lambda: caplog.text.count(f"pid {pid} (a-migration)") >= 2)
        await other.execute(text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
        await other.execute(text("RESET application_name"))
    await waiting
    assert {record.levelname for record in caplog.records if "another process" in record.getMessage()} == {"WARNING"}


async def test_one_process_migrates_at_a_time(database: Database, make_settings: MakeSettings) -> None:
    running = 0

    def run(connection: Connection) -> None:
        nonlocal running
        running += 1
        assert running == 1
        connection.execute(text("SELECT pg_sleep(0.1)"))
        running -= 1

    await asyncio.gather(*(migrate(make_settings(), run) for _ in range(3)))


def build(connection: Connection) -> None:
    """Build an index as a migration does."""
    context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
    with context.begin_transaction(_per_migration=True), Operations.context(context):
        build_index("ix_later", "sync_events (created_at) WHERE position > 0")


async def index_is_valid(database: Database) -> bool | None:
    """Whether the index can be used; None when there is none."""
    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_later')"
    async with database.read() as session:
        valid: bool | None = await session.scalar(text(query))
    return valid


async def test_an_index_is_built_while_others_write_and_another_replica_waits_for_its_turn(
    database: Database, make_settings: MakeSettings
) -> None:
    async with database.engine.connect() as writer:
        await writer.execute(text("UPDATE sweep_cursor SET position = position"))
        await writer.execute(text("LOCK TABLE sync_events IN ROW EXCLUSIVE MODE"))
        building = asyncio.create_task(migrate(make_settings(), build))

        async def has_begun() -> bool:
            return await index_is_valid(database) is not None

        await until(has_begun)
        waiting = asyncio.create_task(migrate(make_settings(), build))
        await add_events(database, (uuid4(), "upload"))
        assert not building.done(), "it waits for the writer that was there before"
        await writer.rollback()
    async with asyncio.timeout(10):
        await asyncio.gather(building, waiting)
    assert await index_is_valid(database)


async def test_an_index_that_was_not_finished_is_built_again(database: Database, make_settings: MakeSettings) -> None:
    async with database.engine.connect() as writer:
        await writer.execute(text("LOCK TABLE sync_events IN ROW EXCLUSIVE MODE"))
        with pytest.raises(MigrationBlocked, match=r"held by pid \d+"):
            await migrate(make_settings(), build, patience_seconds=0.3)
    assert await index_is_valid(database) is False
    await migrate(make_settings(), build)
    assert await index_is_valid(database)
