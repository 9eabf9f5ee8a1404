"""Advisory locks of background jobs, and other sessions whose locks and snapshots the service waits for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.engine import Database
from app.database.metrics import DatabaseMetrics

log = structlog.get_logger(__name__)

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
# The lock of a row is in the row alone, but its holder also has a lock on the table. Rows of these tables are what
# appends, the sweep and the webhooks lock; the sweep and the webhooks pass over a locked one and never wait.
_HOLDERS = text(
    """
    SELECT pid, application_name, query_start, virtualtransaction, string_agg(DISTINCT relname, ', ') AS tables
      FROM pg_locks JOIN pg_stat_activity USING (pid) LEFT JOIN pg_class ON pg_class.oid = relation AND relkind = 'r'
     WHERE granted AND pid <> pg_backend_pid() AND datname = current_database()
       AND mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
       AND (relation IN (to_regclass('ledger_head'), to_regclass('sweep_cursor'), to_regclass('subscriptions'))
            OR pid IN (SELECT unnest(pg_blocking_pids(waiting.pid)) FROM pg_stat_activity AS waiting
                        WHERE waiting.wait_event_type = 'Lock' AND waiting.datname = current_database()))
     GROUP BY pid, application_name, query_start, virtualtransaction
    """
)
_OLDEST_SNAPSHOT = text(
    """
    SELECT CAST(greatest(0, extract(epoch FROM clock_timestamp() - min(started))) AS float8)
      FROM (SELECT xact_start FROM pg_stat_activity
             WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND datname = current_database()
               AND backend_type IS DISTINCT FROM 'autovacuum worker'
             UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) AS held (started)
    """
)


class BackgroundJob(IntEnum):
    """Jobs that one replica at a time runs; the values are keys of advisory locks, unique in this database."""

    CATCH_UP = 0x5745_4248_4341_5443
    PRUNE = 0x5745_4248_5052_554E
    STALLED = 0x5745_4248_5354_414C


class OtherReplicaWorks(Exception):
    """Another replica runs the job."""


@asynccontextmanager
async def job_transaction(database: Database, job: BackgroundJob) -> AsyncIterator[AsyncSession]:
    """A transaction of the only replica that runs `job`.

    The lock is never waited for, so it may come before the lanes' lock. SQLite has one writer at a time anyway.

    Raises:
        OtherReplicaWorks: another replica holds the lock.
        DatabaseUnavailable: the database cannot serve.
    """
    async with database.transaction() as session:
        locked = select(func.pg_try_advisory_xact_lock(job.value))
        if session.get_bind().dialect.name == "postgresql" and not await session.scalar(locked):
            raise OtherReplicaWorks
        yield session


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


class LockWatch:
    """Logs each transaction that has held locks the service needs from one pass to the next; measures snapshots."""

    def __init__(self, database: Database, metrics: DatabaseMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._seen: set[tuple[int, str]] = set()
        self._logged: set[tuple[int, str]] = set()

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Look once. PostgreSQL only. Raises `DatabaseUnavailable` when the database cannot serve now."""
        async with self._database.connection() as connection:
            holders = (await connection.execute(_HOLDERS)).all()
            self._metrics.oldest_snapshot.set(await connection.scalar(_OLDEST_SNAPSHOT))
        seen = {(row.pid, row.virtualtransaction): row for row in holders}
        for key in seen.keys() & self._seen - self._logged:
            row = seen[key]
            log.warning(
                "a transaction holds locks that the service waits for",
                pid=row.pid,
                application=row.application_name,
                tables=row.tables,
                query_started_at=row.query_start,
            )
            self._logged.add(key)
        self._seen = set(seen)
        self._logged &= self._seen
