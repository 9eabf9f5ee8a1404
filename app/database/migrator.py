"""Runs migrations beside serving replicas: one process at a time, and no request waits long for a lock of theirs."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import structlog
from alembic import op
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.concurrency.shutdown import wait_for_event
from app.config import Settings
from app.database.connection import create_engine
from app.database.errors import waited_for_lock
from app.errors import StartupRefused, describe

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x53594E43  # "SYNC": the advisory lock that migrating processes share
LOCK_SECONDS = 0.5  # every request that comes after a migration's lock waits as long as the migration does
PAUSE_SECONDS = 2
POLL_SECONDS = 0.5
REPORT_SECONDS = 60
PATIENCE_SECONDS = 600
LONG_SECONDS = 3600
_PATIENCE = "patience_seconds"
_IS_INVALID = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('{name}') AND NOT indisvalid"
_BLOCKERS = text(
    "SELECT pid, application_name, query_start FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(:pid))"
)
_ADVISORY = text(
    """
    SELECT pid, application_name, query_start FROM pg_locks JOIN pg_stat_activity USING (pid)
     WHERE locktype = 'advisory' AND granted AND datname = current_database() AND database = datid
       AND (CAST(classid AS bigint) << 32 | CAST(objid AS bigint)) = :key AND objsubid = 1
    """
)


class MigrationBlocked(StartupRefused):
    """Another session has held a lock that a migration needs for too long; earlier migrations stay."""


class Holder(NamedTuple):
    """A session whose locks others wait for."""

    pid: int
    application: str
    query_started_at: datetime | None

    def __str__(self) -> str:
        since = f", whose query began at {self.query_started_at:%Y-%m-%d %H:%M:%S} UTC" if self.query_started_at else ""
        return f"pid {self.pid} ({self.application or 'no application_name'}){since}"


async def list_blockers(connection: AsyncConnection, pid: int) -> list[Holder]:
    """The sessions for whose locks the session `pid` waits at this moment. PostgreSQL only."""
    return [Holder(*row) for row in await connection.execute(_BLOCKERS, {"pid": pid})]


async def list_advisory_holders(connection: AsyncConnection, key: int) -> list[Holder]:
    """The sessions that hold the advisory lock `key` (64 bits). PostgreSQL only."""
    return [Holder(*row) for row in await connection.execute(_ADVISORY, {"key": key})]


async def migrate(
    settings: Settings, run: Callable[[Connection], None], *, patience_seconds: float = PATIENCE_SECONDS
) -> None:
    """Call `run`, which commits each migration by itself, one process at a time, until no lock was in its way.

    A migration waits half a second for a lock. Then the requests that queue behind it pass, and it tries again. It
    needs connections that lead to PostgreSQL itself: a transaction pooler would lend its lock to others.

    Raises:
        MigrationBlocked: others held a lock for `patience_seconds`, and no migration ended meanwhile.
        DBAPIError, OSError: as they come.
    """
    limits = {
        "database_statement_timeout": LONG_SECONDS,
        "database_lock_timeout": LOCK_SECONDS,
        "database_pool_size": 2,  # one migrates, the other observes it
    }
    engine = create_engine(settings.model_copy(update=limits))
    try:
        async with engine.connect() as connection:
            if settings.database.is_sqlite:
                await connection.run_sync(run)
                await connection.commit()
                return
            await _take_lock(connection)
            await _repeat(run, connection, engine, patience_seconds)
    finally:
        await engine.dispose()


async def _take_lock(connection: AsyncConnection) -> None:
    """Hold the lock of migrations until `connection` is closed.

    It is polled: a session that waits for a lock has a snapshot, and CREATE INDEX CONCURRENTLY waits for all snapshots.
    """
    statement = text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")
    reported_at = -math.inf
    while not await connection.scalar(statement):
        if time.monotonic() - reported_at >= REPORT_SECONDS:
            holders = await list_advisory_holders(connection, MIGRATION_LOCK)
            log.warning("another process migrates the database, waiting for its end", lock_held_by=_name(holders))
            reported_at = time.monotonic()
        await connection.rollback()
        await asyncio.sleep(POLL_SECONDS)
    await connection.rollback()


def _name(holders: list[Holder]) -> str:
    return "; ".join(map(str, holders)) or "another session"


@dataclass
class _Wait:
    """Sessions whose locks another waits for, or last waited for, and since when it does (`time.monotonic()`)."""

    holders: list[Holder] = field(default_factory=list)
    since: float | None = None


async def _repeat(
    run: Callable[[Connection], None],
    connection: AsyncConnection,
    engine: AsyncEngine,
    patience_seconds: float,
) -> None:
    pid = (await connection.scalar(text("SELECT pg_backend_pid()"))) or 0
    connection.sync_connection.info[_PATIENCE] = patience_seconds  # type: ignore[union-attr]  # it is open
    blocked_since: float | None = None
    blocked_at: str | None = None
    await connection.rollback()
    while True:
        ready, done, wait = asyncio.Event(), asyncio.Event(), _Wait()
        looking = asyncio.create_task(_look(engine, pid, wait, ready, done))
        try:
            await ready.wait()
            await connection.run_sync(run)
            await connection.commit()
        except DBAPIError as error:
            if not waited_for_lock(error):
                raise
        else:
            return
        finally:
            done.set()
            await looking
        now, holders = time.monotonic(), _name(wait.holders)
        await connection.rollback()
        if (revision := await connection.run_sync(read_revision)) != blocked_at:
            blocked_since, blocked_at = None, revision
        blocked_since = blocked_since or wait.since or now
        if now - blocked_since >= patience_seconds:
            raise MigrationBlocked(f"a lock that the migration needs is held by {holders}; end that, and try again")
        log.warning("the migration waits, and lets requests pass", lock_held_by=holders)
        await connection.rollback()
        await asyncio.sleep(PAUSE_SECONDS)


def read_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _look(engine: AsyncEngine, pid: int, wait: _Wait, ready: asyncio.Event, done: asyncio.Event) -> None:
    """Keep in `wait` the sessions that block the session `pid`, until `done`.

    `ready` is set once it is connected, which may take longer than a migration waits for a lock, or once that has
    failed: a migration succeeds without it.
    """
    try:
        async with engine.connect() as connection:
            ready.set()
            while not done.is_set():
                holders = await list_blockers(connection, pid)
                await connection.rollback()  # else CREATE INDEX CONCURRENTLY would wait for this transaction
                if holders:
                    wait.holders, wait.since = holders, wait.since or time.monotonic()
                else:
                    wait.since = None
                await wait_for_event(done, LOCK_SECONDS / 4)
    except (DBAPIError, OSError) as error:
        log.warning("the sessions that block the migration cannot be listed", reason=describe(error))
    finally:
        ready.set()


def build_index(name: str, definition: str, *, unique: bool = False) -> None:
    """In a migration of its own: create an index on a table that may be large, without holding up its writers.

    `definition` is what follows ON. PostgreSQL builds it CONCURRENTLY, outside of a transaction, and waits as long as
    the whole migration may for transactions older than the index. What an interrupted build left is dropped first.
    """
    context = op.get_context()
    kind = "UNIQUE INDEX" if unique else "INDEX"
    if context.dialect.name == "sqlite":
        op.execute(f"CREATE {kind} IF NOT EXISTS {name} ON {definition}")
        return
    with context.autocommit_block():
        if context.as_sql:
            op.execute(f"CREATE {kind} CONCURRENTLY IF NOT EXISTS {name} ON {definition}")
            return
        connection = op.get_bind()
        op.execute(f"SET lock_timeout = {int(connection.info[_PATIENCE] * 1000)}")
        try:
            if connection.scalar(text(_IS_INVALID.format(name=name))):
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE {kind} CONCURRENTLY IF NOT EXISTS {name} ON {definition}")
        finally:
            op.execute("RESET lock_timeout")
