"""Runs migrations beside serving replicas: one process at a time, and no request waits long for a lock of theirs."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from alembic import op
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.config import Settings
from app.database.connection import create_engine
from app.database.errors import waited_for_lock
from app.database.locks import Holder, list_blockers

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x53594E43  # "SYNC": the advisory lock that migrating processes share
LOCK_SECONDS = 0.5  # every request that comes after a migration's lock waits as long as the migration does
PAUSE_SECONDS = 2
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 600
LONG_SECONDS = 3600
_PATIENCE = "patience_seconds"
_IS_INVALID = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('{name}') AND NOT indisvalid"


class MigrationBlocked(Exception):
    """Somebody has held a lock that a migration needs for too long; what was migrated before it stays."""


async def migrate(
    settings: Settings, run: Callable[[Connection], None], *, patience_seconds: float = PATIENCE_SECONDS
) -> None:
    """Call `run`, which commits each migration by itself, one process at a time, until no lock was in its way.

    A migration waits half a second for a lock. Then the requests that queue behind it pass, and it tries again. It
    needs connections that lead to PostgreSQL itself: a transaction pooler would lend its lock to others.

    Raises:
        MigrationBlocked: others held a lock for `patience_seconds`.
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
            await _take_lock(connection)
            async with engine.connect() as observing:
                await _repeat(run, connection, observing, patience_seconds)
    finally:
        await engine.dispose()


async def _take_lock(connection: AsyncConnection) -> None:
    """Hold the lock of migrations until `connection` is closed.

    It is polled: who waits for a lock has a snapshot, and CREATE INDEX CONCURRENTLY waits for all of those.
    """
    statement = text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")
    is_reported = False
    while not await connection.scalar(statement):
        await connection.rollback()
        if not is_reported:
            log.info("another process migrates the database, waiting for its end")
            is_reported = True
        await asyncio.sleep(POLL_SECONDS)
    await connection.rollback()


@dataclass
class _Wait:
    """Sessions whose locks another waits for, or last waited for, and since when it does (`time.monotonic()`)."""

    holders: list[Holder] = field(default_factory=list)
    since: float | None = None

    def __str__(self) -> str:
        return "; ".join(map(str, self.holders)) or "another session"


async def _repeat(
    run: Callable[[Connection], None],
    connection: AsyncConnection,
    observing: AsyncConnection,
    patience_seconds: float,
) -> None:
    pid = (await connection.scalar(text("SELECT pg_backend_pid()"))) or 0
    connection.sync_connection.info[_PATIENCE] = patience_seconds  # type: ignore[union-attr]  # it is open
    blocked_since: float | None = None
    while True:
        await connection.rollback()
        done, wait = asyncio.Event(), _Wait()
        looking = asyncio.create_task(_look(observing, pid, wait, done))
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
            await looking
        now = time.monotonic()
        blocked_since = blocked_since or wait.since or now
        if now - blocked_since >= patience_seconds:
            raise MigrationBlocked(f"a lock that the migration needs is held by {wait}; end that, and try again")
        log.warning("the migration waits, and lets requests pass", lock_held_by=str(wait))
        await asyncio.sleep(PAUSE_SECONDS)


async def _look(connection: AsyncConnection, pid: int, wait: _Wait, done: asyncio.Event) -> None:
    """Keep in `wait` for whom the session `pid` waits, until `done`."""
    while not done.is_set():
        holders = await list_blockers(connection, pid)
        await connection.rollback()  # else CREATE INDEX CONCURRENTLY would wait for this transaction
        if holders:
            wait.holders, wait.since = holders, wait.since or time.monotonic()
        else:
            wait.since = None
        with suppress(TimeoutError):
            async with asyncio.timeout(LOCK_SECONDS / 4):
                await done.wait()


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
