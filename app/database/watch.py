"""Looks at the database while the service runs: its locks, its durability, SQLite's WAL, and whether it responds."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.config import Settings
from app.database.connection import CLOSE_SECONDS, WAL_LIMIT_BYTES, create_engine
from app.database.engine import Database
from app.database.errors import READ_ONLY, database_errors
from app.metrics import DatabaseMetrics

FSYNC_OFF = "PostgreSQL has fsync = off, so an event it confirmed could be lost: turn it on"
PASSES_UNTIL_LOGGED = 2
PROBE_SECONDS = 0.8
WAL_WARN_BYTES = 4 * WAL_LIMIT_BYTES
_FSYNC = "fsync"

# The lock of a row is in the row alone, but its holder also has a lock on the table. Rows of these tables are what
# appends, the sweep and the webhooks lock. The sweep and most statements of the webhooks pass over a locked row, so
# that often no session waits for its holder.
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

T = TypeVar("T")

log = structlog.get_logger(__name__)


class LockWatch:
    """Logs each transaction that has held locks the service needs from one pass to the next; measures snapshots."""

    def __init__(self, database: Database, metrics: DatabaseMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._passes: dict[tuple[int, str], int] = {}  # that have found a transaction, without a gap

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Look once. PostgreSQL only. Raises `DatabaseUnavailable` when the database cannot serve now."""
        async with self._database.connection() as connection:
            holders = (await connection.execute(_HOLDERS)).all()
            self._metrics.oldest_snapshot.set(await connection.scalar(_OLDEST_SNAPSHOT))
        seen = {(row.pid, row.virtualtransaction): row for row in holders}
        self._passes = {key: self._passes.get(key, 0) + 1 for key in seen}
        for row in (row for key, row in seen.items() if self._passes[key] == PASSES_UNTIL_LOGGED):
            log.warning(
                "a transaction holds locks that the service waits for",
                pid=row.pid,
                application=row.application_name,
                tables=row.tables,
                query_started_at=row.query_start,
            )


class Server(NamedTuple):
    """Why PostgreSQL may lose or refuse an event."""

    fsync_is_off: bool
    is_read_only: bool


async def look_at_server(database: Database) -> Server:
    """PostgreSQL: look at its settings, and for synchronous standbys.

    Raises:
        DatabaseUnavailable: when the database cannot serve now.
    """
    query = text("SELECT current_setting('fsync') = 'off', current_setting('transaction_read_only') = 'on'")
    async with database.connection() as connection:
        server = Server(*(await connection.execute(query)).one())
        await database.watermark.check(connection)
        if server.is_read_only:
            await connection.invalidate()  # the default of its session may be of the past
    return server


async def watch_durability(database: Database, _stopping: asyncio.Event | None = None) -> None:
    """PostgreSQL: refuse appends while `fsync` is off, report a read-only server, and look for synchronous standbys.

    Raises:
        DatabaseUnavailable: when the database cannot serve now.
    """
    server, writability = await look_at_server(database), database.writability
    if server.fsync_is_off:
        writability.refuse(_FSYNC, FSYNC_OFF)
    else:
        writability.allow(_FSYNC)
    if server.is_read_only:
        writability.report_read_only()
    else:
        writability.allow(READ_ONLY)


class WalTruncation:
    """Empties a WAL of more than 16 MiB.

    SQLite writes the WAL into the file by itself every 4 MiB, but not beyond the snapshot of the oldest reader, and
    begins at its front only while it has no reader: after one long transaction of another process it would stay large.
    """

    def __init__(self, database: Database, metrics: DatabaseMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._is_held = False

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Measure the WAL, and empty it if it is large and has no reader.

        Raises:
            DatabaseUnavailable: when the database cannot serve now.
        """
        if self._measure() <= WAL_LIMIT_BYTES:
            self._is_held = False
            return
        emptied = await self._database.truncate_wal()
        size = self._measure()
        is_held = not emptied and size > WAL_WARN_BYTES
        if is_held and not self._is_held:
            log.warning("the WAL cannot be emptied while another process reads an old snapshot", wal_bytes=size)
        self._is_held = is_held

    def _measure(self) -> int:
        try:
            size = self._database.wal_path.stat().st_size
        except FileNotFoundError:
            size = 0
        self._metrics.wal_bytes.set(size)
        return size


class Prober:
    """One connection apart, so that an exhausted pool does not look like an outage, and neither does a busy event loop.

    Each statement on it has 0.8 seconds. The thread begins with the first look.
    """

    def __init__(self, settings: Settings) -> None:
        seconds = ("connect_timeout", "pool_timeout", "statement_timeout", "lock_timeout")
        limits = {f"database_{name}": PROBE_SECONDS for name in seconds}
        one = {"database_pool_size": 1, "database_max_overflow": 0}
        self._engine = create_engine(settings.model_copy(update={**limits, **one}))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """The connection, for what runs in the thread; `DatabaseUnavailable` when the database cannot serve now."""
        with database_errors():
            async with self._engine.connect() as connection:
                yield connection

    def run(self, look: Coroutine[Any, Any, T]) -> Future[T]:
        """Let `look` run in the thread, in a context of its own: it serves many requests."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="database-prober", daemon=True)
            self._thread.start()
        return Context().run(asyncio.run_coroutine_threadsafe, look, self._loop)

    async def close(self) -> None:
        """Give up a look that is under way, and close the connection; one that hangs is left to the process's end."""
        if self._loop is None or self._thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        await asyncio.wait({asyncio.wrap_future(ending)})
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _end(self) -> None:
        looks = asyncio.all_tasks() - {asyncio.current_task()}
        for look in looks:
            look.cancel()
        if looks:
            await asyncio.wait(looks, timeout=PROBE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._engine.dispose()
