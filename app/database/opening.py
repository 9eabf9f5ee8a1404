"""Opens the database for the service: checks it, migrates it where that is the rule, and watches it while open."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import text

from app.concurrency.task import PeriodicTask
from app.config import Settings
from app.database.connection import CLOSE_SECONDS, WAL_LIMIT_BYTES
from app.database.engine import Database
from app.database.errors import READ_ONLY, DatabaseUnavailable, may_come_up
from app.database.locks import LockWatch
from app.database.metrics import DatabaseMetrics
from app.database.migrations import Schema, prepare_schema
from app.database.preflight import FSYNC_OFF, check_durability, check_fitness, sole_process
from app.errors import describe

DURABILITY_SECONDS = 5
LOCKS_SECONDS = 5
START_PAUSE_SECONDS = 0.5
WAL_SECONDS = 10
WAL_WARN_BYTES = 4 * WAL_LIMIT_BYTES
_FSYNC = "fsync"

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_database(
    settings: Settings, metrics: DatabaseMetrics, on_reject: Callable[[], None]
) -> AsyncIterator[tuple[Database, Schema]]:
    """The database, ready for use, and what is known of its schema; both closed at the end of the block.

    `on_reject` is called for each request that waits in vain for a connection.

    Raises:
        DatabaseShared, DatabaseUnfit, NotMigrated, MigrationBlocked, NotDurable: the service cannot start on it.
        DatabaseUnavailable: it cannot serve now.
    """
    database = Database(settings, metrics, on_reject)
    try:
        with sole_process(settings):
            schema = Schema()
            await _prepare(database, settings, schema)
            await check_durability(database)
            if database.is_sqlite:
                watches = [PeriodicTask("wal", WalTruncation(database, metrics).run_once, WAL_SECONDS)]
            else:
                check = DurabilityCheck(database)
                await check.run_once()
                watches = [
                    PeriodicTask("durability", check.run_once, DURABILITY_SECONDS),
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


class DurabilityCheck:
    """Checks repeatedly whether PostgreSQL keeps what it confirms, accepts writes, and has synchronous standbys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Refuse appends while `fsync` is off, report a read-only server, and find out about synchronous standbys.

        Raises:
            DatabaseUnavailable: when the database cannot serve now.
        """
        query = text("SELECT current_setting('fsync') = 'off', current_setting('transaction_read_only') = 'on'")
        writability = self._database.writability
        async with self._database.connection() as connection:
            fsync_is_off, is_read_only = (await connection.execute(query)).one()
            await self._database.watermark.check(connection)
            if is_read_only:
                await connection.invalidate()  # the default of its session may be of the past
        if fsync_is_off:
            writability.refuse(_FSYNC, FSYNC_OFF)
        else:
            writability.allow(_FSYNC)
        if is_read_only:
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
