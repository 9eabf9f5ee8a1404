"""Opens the database for the service: checks it, migrates it where that is the rule, and watches it while open."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import structlog
from filelock import FileLock, Timeout
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.concurrency.task import PeriodicTask
from app.config import Settings
from app.database.connection import CLOSE_SECONDS
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable, may_come_up
from app.database.migrations import Schema, prepare_schema
from app.database.watch import FSYNC_OFF, LockWatch, WalTruncation, look_at_server, watch_durability
from app.errors import StartupRefused, describe
from app.metrics import DatabaseMetrics

DURABILITY_SECONDS = 5
LOCKS_SECONDS = 5
START_PAUSE_SECONDS = 0.5
WAL_SECONDS = 10

# The rights that the statements of this release need, by PostgreSQL's names. Further rights do no harm; without them
# the ledger is append-only for the service.
_EVERYTHING = ("SELECT", "INSERT", "UPDATE", "DELETE")
NEEDED_RIGHTS: dict[str, tuple[str, ...]] = {
    "alembic_version": ("SELECT",),
    "sync_events": ("SELECT", "INSERT", "UPDATE"),
    "ledger_head": ("SELECT", "UPDATE"),
    "ledger_identity": ("SELECT",),
    "sweep_cursor": ("SELECT", "UPDATE"),
    "files": ("SELECT", "INSERT", "UPDATE"),
    "subscriptions": _EVERYTHING,
    "deliveries": _EVERYTHING,
    "full_lanes": _EVERYTHING,
    "delivery_attempts": ("SELECT", "INSERT", "DELETE"),
    "consistency_sources": _EVERYTHING,
    "consistency_checks": _EVERYTHING,
    "consistency_differences": _EVERYTHING,
    "consistency_file_checks": _EVERYTHING,
    "consistency_findings": _EVERYTHING,
    "consistency_repairs": ("SELECT", "INSERT", "UPDATE"),
}
_ENCODING = "UTF8"

_MISSING_RIGHTS = text(
    """
    SELECT needed.name, string_agg(needed.right, ', ' ORDER BY needed.ordinal) AS rights
      FROM unnest(CAST(:names AS text[]), CAST(:rights AS text[])) WITH ORDINALITY AS needed (name, "right", ordinal)
     WHERE NOT has_table_privilege(to_regclass(needed.name), needed.right)
     GROUP BY needed.name
     ORDER BY min(needed.ordinal)
    """
)

log = structlog.get_logger(__name__)


class DatabaseShared(StartupRefused):
    """Another process serves the same SQLite database."""


class NotDurable(StartupRefused):
    """The database confirms a commit before it is on disk."""


class DatabaseUnfit(StartupRefused):
    """The database can be reached, but the service could not do its work in it."""


@asynccontextmanager
async def open_database(
    settings: Settings, metrics: DatabaseMetrics, on_reject: Callable[[], None]
) -> AsyncIterator[tuple[Database, Schema]]:
    """The database, ready for use until the end of the block, and the revisions of the schema.

    `on_reject` is called for each request that gets no connection in time.

    Raises:
        DatabaseShared, DatabaseUnfit, NotMigrated, MigrationBlocked, NotDurable: the service cannot start on it.
        DatabaseUnavailable: it cannot serve now.
    """
    database = Database(settings, metrics, on_reject)
    try:
        with sole_process(settings):
            schema = Schema()
            await _prepare(database, settings, schema)
            if database.is_sqlite:
                watches = [PeriodicTask("wal", WalTruncation(database, metrics).run_once, WAL_SECONDS)]
            else:
                await check_durability(database)
                watches = [
                    PeriodicTask("durability", partial(watch_durability, database), DURABILITY_SECONDS),
                    PeriodicTask("locks", LockWatch(database, metrics).run_once, LOCKS_SECONDS),
                ]
            for watch in watches:
                watch.start()
            try:
                yield database, schema
            finally:
                for watch in watches:
                    await watch.stop(CLOSE_SECONDS)
    finally:
        await database.close()


async def prepare_database(settings: Settings) -> None:
    """Wait for the database and migrate it, before the workers of a process open it.

    Raises:
        DatabaseUnfit, NotMigrated, MigrationBlocked: the service cannot start on it.
        DatabaseUnavailable: it cannot serve now.
    """
    database = Database(settings)
    try:
        await _prepare(database, settings, Schema())
    finally:
        await database.close()


async def _prepare(database: Database, settings: Settings, schema: Schema) -> None:
    await _wait_until_fit(database, settings.database_start_timeout)
    await prepare_schema(database, settings, schema)


async def _wait_until_fit(database: Database, timeout_seconds: float) -> None:
    """Check the database as soon as it accepts connections; a database that may be starting is tried again."""
    deadline = time.monotonic() + timeout_seconds
    reported = ""
    while True:
        try:
            await check_fitness(database)
        except DatabaseUnavailable as error:
            if not may_come_up(error.__cause__) or time.monotonic() >= deadline:
                raise
            reason = describe(error.__cause__ or error)
        else:
            return
        if reason != reported:
            log.warning("waiting for the database", reason=reason, timeout_seconds=timeout_seconds)
            reported = reason
        await asyncio.sleep(START_PAUSE_SECONDS)


async def check_fitness(database: Database) -> None:
    """Make sure that a file can be opened, that PostgreSQL stores every character, and that our role has its rights.

    Tables that do not exist yet are no concern of this check.

    Raises:
        DatabaseUnfit: in one sentence, with what to do.
        DatabaseUnavailable: the file cannot be opened.
    """
    if database.is_sqlite:
        await asyncio.to_thread(_open_file, str(database.engine.url.database))
        return
    async with database.read() as session:
        await _check_encoding(session)
        await _check_rights(session)


def _open_file(path: str) -> None:
    # Before aiosqlite does: the thread of a connection that fails outlives the event loop, and complains of that.
    try:
        sqlite3.connect(path).close()
    except sqlite3.OperationalError as error:
        raise DatabaseUnavailable from error


async def _check_encoding(session: AsyncSession) -> None:
    encoding = await session.scalar(text("SELECT current_setting('server_encoding')"))
    if encoding != _ENCODING:
        raise DatabaseUnfit(
            f"DATABASE_URL: the database stores {encoding}, which lacks characters that events may have: "
            f"make one with `createdb --encoding={_ENCODING} --template=template0`"
        )


async def _check_rights(session: AsyncSession) -> None:
    role = await session.scalar(text("SELECT current_user"))
    if await session.scalar(text("SELECT current_schema()")) is None:
        raise DatabaseUnfit(
            f"DATABASE_URL: the role {role} may not use any schema of its search_path: GRANT USAGE ON SCHEMA"
        )
    pairs = [(name, right) for name, rights in NEEDED_RIGHTS.items() for right in rights]
    names, rights = zip(*pairs, strict=True)
    missing = (await session.execute(_MISSING_RIGHTS, {"names": list(names), "rights": list(rights)})).all()
    if missing:
        grants = "; ".join(f"GRANT {rights} ON {name} TO {role}" for name, rights in missing)
        raise DatabaseUnfit(f"DATABASE_URL: the role {role} lacks rights that the service needs: {grants}")


async def check_durability(database: Database) -> None:
    """Make sure that PostgreSQL flushes a commit to disk before it confirms it.

    What depends on the session is set on each of our connections; `fsync` is the server's own.

    Raises:
        NotDurable: when PostgreSQL does not flush at all.
        DatabaseUnavailable: when the database cannot serve now.
    """
    server = await look_at_server(database)
    if server.fsync_is_off:
        raise NotDurable(FSYNC_OFF)
    if server.is_read_only:
        database.writability.report_read_only()


@contextmanager
def sole_process(settings: Settings) -> Iterator[None]:
    """Hold a lock file beside a SQLite database in production; elsewhere do nothing.

    Raises:
        DatabaseShared: when another process holds it.
    """
    if settings.environment != "production" or not settings.database.is_sqlite:
        yield
        return
    # By any of its names it is one file.
    lock = FileLock(f"{Path(str(settings.database.url.database)).resolve()}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DatabaseShared(
            "DATABASE_URL names SQLite, which serves one worker, and another process has it: "
            "start a single worker, or use PostgreSQL"
        ) from None
    try:
        yield
    finally:
        lock.release()
