"""The connection pool and the ways to use it: read, append, transact."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

from sqlalchemy import event, func, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from app.concurrency.fair_semaphore import FairSemaphore, caller
from app.config import Settings
from app.database.connection import BEGIN, CLOSE_SECONDS, ReadConnection, create_engine, never_cancelled
from app.database.errors import DAMAGE, DatabaseDamaged, DatabaseUnavailable, Writability, database_errors
from app.database.sqlite_file import SqliteFile
from app.database.watermark import DurableWatermark
from app.errors import describe
from app.log.sparing import SparingLog
from app.metrics import DatabaseMetrics

_COMMIT_LOCALLY = text("SET LOCAL synchronous_commit = local")
_NO_LIMIT_SECONDS = 7 * 86_400
_TAKEN = "sync-service: taken"


class ConnectionsInUse(DatabaseUnavailable):
    """503: all connections that requests may use are in use."""

    detail = "All connections to the database are in use; try again."


class Database:
    """One connection pool. Every method raises `DatabaseUnavailable` when the database cannot serve now.

    Requests need a permit for anything but an append. Three quarters of the connections have one, so that appends, the
    sweep and the other tasks of the service find free ones; a pool of one connection has one. A request that gets no
    permit in time gets `ConcurrencyLimited` or `ConnectionsInUse`, and counts in `on_reject`.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: DatabaseMetrics | None = None,
        on_reject: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = create_engine(settings)
        self._permits = FairSemaphore(
            max((settings.database_pool_size + settings.database_max_overflow) * 3 // 4, 1),
            resource="connections to the database",
            busy=ConnectionsInUse,
            timeout_seconds=settings.database_pool_timeout,
            on_reject=on_reject,
        )
        self.writability = Writability()
        self._log = SparingLog(__name__)
        self.responded_at = time.monotonic()  # when a connection of the pool last succeeded
        self.is_sqlite = settings.database.is_sqlite
        self._file = SqliteFile(str(settings.database.url.database), self.writability) if self.is_sqlite else None
        if self._file is not None:
            self._file.watch(self.engine)
        # PostgreSQL: one statement is its own transaction, one round trip. A transaction pooler needs a BEGIN all the
        # same, to keep preparing and executing on one server connection; and so does SQLite.
        pooled = not settings.database_prepared_statements
        single = {} if self.is_sqlite or pooled else {"isolation_level": "AUTOCOMMIT"}
        self._single = self.engine.execution_options(**single)
        self._single.sync_engine._connection_cls = ReadConnection  # noqa: SLF001 - an engine has no other way to say it
        self._append = self.engine.execution_options(**single, **{BEGIN: "BEGIN IMMEDIATE"})
        self._outside = self.engine.execution_options(**{BEGIN: ""})
        self._write = self.engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
        # SQLite's own wait for other writers is not fair: without our own queue a busy sweep would starve appends.
        self._write_lock = asyncio.Lock()
        self._write_timeout_seconds = settings.database_lock_timeout
        self._readers = async_sessionmaker(self._single, expire_on_commit=False)
        self._writers = async_sessionmaker(self._write, expire_on_commit=False)
        self.watermark = DurableWatermark(
            _create_waiting_engine(settings, single),
            timeout_seconds=settings.database_statement_timeout,
            pooled=pooled,
        )
        self.watermark.watch(self.engine)
        if metrics is not None:
            _measure_pool(self.engine, settings, metrics)  # last: what a check before it refuses was not taken

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session whose statements are each a snapshot of their own."""
        with self._errors():
            async with self._permit(), self._readers() as session:
                yield session

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A bare connection, for rows instead of objects, at half the cost; each statement is a snapshot of its own."""
        with self._errors():
            async with self._permit(), self._single.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self, *, wait_for_standbys: bool = True) -> AsyncIterator[AsyncSession]:
        """A session in one writing transaction, committed at the end of the block and rolled back on an error.

        Without `wait_for_standbys` a failover may undo it.
        """
        with self._errors():
            async with self._permit(), self._writing(), self._writers.begin() as session:
                if self.watermark.active and not wait_for_standbys:
                    await session.execute(_COMMIT_LOCALLY)
                yield session

    @asynccontextmanager
    async def append(self) -> AsyncIterator[AsyncConnection]:
        """A connection for the ledger: autocommit on PostgreSQL, one writing transaction on SQLite.

        Raises `WritesRefused` while an event written now could be lost, and `CommitUncertain` when it is committed, but
        perhaps on the primary alone.
        """
        with self._errors(), self.writability.observed():
            async with (
                self._writing(),
                self._append.connect() as connection,
                never_cancelled(connection),
                connection.begin(),
            ):
                yield connection

    @property
    def wal_path(self) -> Path:
        """Where SQLite keeps its WAL: beside the file that a symbolic link leads to."""
        return Path(f"{Path(str(self.engine.url.database)).resolve()}-wal")

    async def truncate_wal(self) -> bool:
        """SQLite: write the WAL into the file and empty it. Returns False immediately when a reader still needs it."""
        with self._errors():
            async with self._writing(), self._outside.connect() as connection:
                before = (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar_one()
                await connection.exec_driver_sql("PRAGMA busy_timeout = 0")
                try:
                    busy: int = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()[0]
                finally:
                    await connection.exec_driver_sql(f"PRAGMA busy_timeout = {before}")
        return not busy

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Refuse a lost file. Log damage; a damaged SQLite file takes no more events, which a backup would not have."""
        if self._file is not None:
            self._file.check()
        try:
            with database_errors():
                yield
            self.responded_at = time.monotonic()
        except DatabaseDamaged as error:
            if error.__cause__ is not None:
                self._log.error("the database is damaged", error=describe(error.__cause__))
            if self.is_sqlite and not self.writability.is_damaged:
                self.writability.refuse(DAMAGE, str(error))
            raise

    @asynccontextmanager
    async def _permit(self) -> AsyncIterator[None]:
        """Hold a permit for the caller whose request this is; the service itself needs none."""
        subject = caller.get()
        if subject is None:
            yield
        else:
            async with self._permits.hold(subject):
                yield

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """SQLite: hold the write lock, which is granted in the order of the requests. PostgreSQL: do nothing."""
        if self._file is None:
            yield
            return
        async with asyncio.timeout(self._write_timeout_seconds):
            await self._write_lock.acquire()
        try:
            await self._compare_file(self._file)
            yield
            await self._compare_file(self._file)  # what was written is committed by now
        finally:
            self._write_lock.release()

    async def _compare_file(self, file: SqliteFile) -> None:
        async with asyncio.timeout(self._write_timeout_seconds):
            await file.compare_whole()

    async def close(self) -> None:
        """Close every connection; hanging ones are left to the end of the process after 2 seconds."""
        await self.watermark.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.engine.dispose()
        except TimeoutError:
            return
        if self._file is not None:
            self._file.close()


def _create_waiting_engine(settings: Settings, options: dict[str, Any]) -> AsyncEngine:
    """An engine of one connection whose statements may take as long as they take."""
    limits = {"database_pool_size": 1, "database_max_overflow": 0, "database_statement_timeout": _NO_LIMIT_SECONDS}
    return create_engine(settings.model_copy(update=limits)).execution_options(**options)


def _measure_pool(engine: AsyncEngine, settings: Settings, metrics: DatabaseMetrics) -> None:
    """Count the pool's connections as they come and go."""
    metrics.limit.set(settings.database_pool_size + settings.database_max_overflow)

    pool = engine.sync_engine

    @event.listens_for(pool, "connect")
    def _connected(_connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        metrics.idle.inc()

    @event.listens_for(pool, "checkout")
    def _taken(_connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        record.info[_TAKEN] = True
        metrics.idle.dec()
        metrics.in_use.inc()

    @event.listens_for(pool, "checkin")
    def _given_back(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        # An attempt to connect that failed is given back without ever having been taken.
        if record.info.pop(_TAKEN, False):
            metrics.in_use.dec()
            metrics.idle.inc()

    @event.listens_for(pool, "close")
    def _closed(_connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        metrics.idle.dec()


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
