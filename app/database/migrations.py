"""Brings SQLite up to date at start-up, reports whether PostgreSQL is, and migrates it beside running replicas."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.config import Settings
from app.database.connection import create_engine
from app.database.engine import Database
from app.database.errors import waited_for_lock
from app.database.locks import Holder, list_blockers

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x53594E43  # "SYNC": the advisory lock that migrating processes share
LEDGER_TABLE = "ledger_head"
LOCK_SECONDS = 0.5  # every request that comes after a migration's lock waits as long as the migration does
PAUSE_SECONDS = 2
PATIENCE_SECONDS = 600
LONG_SECONDS = 3600
_TAKE_TURN = (
    f"SET LOCAL lock_timeout = '{LONG_SECONDS}s'",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})",
)


class NotMigrated(Exception):
    """The database's schema is not the one this code was written for."""


class MigrationBlocked(Exception):
    """Somebody has held a lock that a migration needs for too long; what was migrated before it stays."""


def alembic_config() -> Config:
    """Alembic's configuration, wherever the process was started."""
    return Config(Path(__file__).parents[2] / "alembic.ini")


class Schema:
    """The revisions of the schema that this release knows."""

    def __init__(self) -> None:
        scripts = ScriptDirectory.from_config(alembic_config())
        self.head = scripts.get_current_head()
        self._known = frozenset(script.revision for script in scripts.walk_revisions())

    def is_newer(self, revision: str | None) -> bool:
        """Whether a later release has migrated the database: then this one does not know the revision."""
        return revision is not None and revision not in self._known

    def serves(self, revision: str | None) -> bool:
        """Whether this release can work at `revision`: at its own head, or at that of a later release.

        Migrations only add to what the release before them needs, so that replicas of both can run side by side.
        """
        return revision == self.head or self.is_newer(revision)

    def explain(self, revision: str | None) -> str:
        """What is wrong with a revision that this release cannot work at, and the command that helps."""
        found = revision or "nothing"
        return f"the schema is at {found} and this release needs {self.head}: run `alembic upgrade head`"


async def prepare_schema(database: Database, schema: Schema) -> None:
    """Migrate SQLite; check PostgreSQL.

    Raises:
        NotMigrated: when PostgreSQL's schema is behind, naming the command that helps; when it is another program's.
        DatabaseUnavailable: when the database cannot be reached.
    """
    current = await _current_revision(database)
    if schema.is_newer(current):
        await _check_ours(database, current)
        log.warning("the schema is of a later release than this one", schema=current, head=schema.head)
    elif database.is_sqlite:
        async with database.transaction() as session:
            await (await session.connection()).run_sync(_upgrade)
    elif not schema.serves(current):
        raise NotMigrated(schema.explain(current))


async def _check_ours(database: Database, revision: str | None) -> None:
    """Make sure that a revision that we do not know is one of a later release of this service."""
    async with database.read() as session:
        names = await (await session.connection()).run_sync(lambda connection: inspect(connection).get_table_names())
    if LEDGER_TABLE not in names:
        raise NotMigrated(
            f"the database is another program's: its alembic_version is {revision}, and it has no {LEDGER_TABLE}; "
            "give the service a database of its own"
        )


async def _current_revision(database: Database) -> str | None:
    async with database.read() as session:
        return await (await session.connection()).run_sync(
            lambda connection: MigrationContext.configure(connection).get_current_revision()
        )


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(settings: Settings, run: Callable[[Connection], None]) -> None:
    """Call `run`, which commits each migration by itself, one process at a time, until no lock was in its way.

    A migration waits half a second for a lock. Then the requests that queue behind it pass, and it tries again.

    Raises:
        MigrationBlocked: after ten minutes of that.
        DBAPIError, OSError: as they come.
    """
    limits = {"database_statement_timeout": LONG_SECONDS, "database_lock_timeout": LOCK_SECONDS}
    engine = create_engine(settings.model_copy(update=limits))
    try:
        async with engine.connect() as connection:
            if settings.database.is_sqlite:
                await connection.run_sync(run)
                await connection.commit()
                return
            pid = (await connection.scalar(text("SELECT pg_backend_pid()"))) or 0
            async with engine.connect() as turn:
                for statement in _TAKE_TURN:
                    await turn.exec_driver_sql(statement)
                await _repeat(run, connection, pid, turn)
    finally:
        await engine.dispose()


async def _repeat(
    run: Callable[[Connection], None], connection: AsyncConnection, pid: int, turn: AsyncConnection
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        await connection.rollback()
        done = asyncio.Event()
        looking = asyncio.create_task(_look(turn, pid, done))
        try:
            await connection.run_sync(run)
            await connection.commit()
        except DBAPIError as error:
            if not waited_for_lock(error):
                raise
        else:
            return
        finally:
            done.set()
            holders = await looking
        names = "; ".join(str(holder) for holder in holders) or "another session"
        if time.monotonic() > deadline:
            raise MigrationBlocked(f"a lock that the migration needs is held by {names}; end that, and run it again")
        log.warning("the migration waits, and lets requests pass", lock_held_by=names)
        await asyncio.sleep(PAUSE_SECONDS)


async def _look(connection: AsyncConnection, pid: int, done: asyncio.Event) -> list[Holder]:
    """Whom the session `pid` waited for last, until `done`."""
    holders: list[Holder] = []
    while not done.is_set():
        holders = await list_blockers(connection, pid) or holders
        try:
            async with asyncio.timeout(LOCK_SECONDS / 4):
                await done.wait()
        except TimeoutError:
            continue
    return holders
