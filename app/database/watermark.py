"""How much of the ledger a failover can no longer remove, where PostgreSQL has synchronous standbys."""

import asyncio
from contextlib import suppress
from contextvars import Context
from datetime import datetime
from typing import NamedTuple

import structlog
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from app.concurrency.shutdown import wait_or_cancel
from app.database.connection import never_cancelled
from app.database.errors import DatabaseUnavailable, database_errors
from app.errors import describe
from app.log.sparing import SparingLog

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 1.0  # how long a reader waits for a newer watermark before it uses the known one
RETRY_SECONDS = 0.2  # between two looks of which the first failed
CLOSE_SECONDS = 1
_SERVER = "sync-service: server"
# Of a server that is promoted the timeline changes, of one that is restarted the time of its start.
_IDENTITY = (
    "pg_postmaster_start_time(), CASE WHEN pg_is_in_recovery() THEN 'in recovery' "
    "ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
)
# The WAL is one sequence: once a standby has the commit of this, it has every commit that the statement sees. Without
# the message the transaction would write nothing and not wait, which is right when there is nothing new.
_LOOK = text(
    f"SELECT position, {_IDENTITY}, current_setting('synchronous_standby_names') <> '', "  # noqa: S608 - a constant
    "CASE WHEN position > :known THEN pg_logical_emit_message(true, 'sync-service', '')::text END "
    "FROM (SELECT coalesce(max(position), 0) AS position FROM sync_events) AS head"
)
_STANDBYS = text("SELECT current_setting('synchronous_standby_names') <> ''")


class NotYetDurable(DatabaseUnavailable):
    """503: the event is on the primary alone."""

    code = "not-yet-durable"
    detail = "The standbys of the database have not confirmed this yet; try again."


class Server(NamedTuple):
    """Identifies one run of a primary."""

    started_at: datetime
    timeline: str


def server_of(connection: AsyncConnection) -> Server | None:
    """The server that a connection of a watched pool leads to; None while there are no synchronous standbys."""
    return None if connection.sync_connection is None else connection.sync_connection.info.get(_SERVER)


class DurableWatermark:
    """The highest position that synchronous standbys are known to have; readers show nothing beyond it.

    It rises with our own commits, and by looks: a look writes a little WAL if there is anything new and waits for it.
    One look at a time, shared by all readers, on a connection of its own, without an end: waits that are abandoned go
    on in the server and would use up its connections. The watermark is of one server; on another one it is unknown.
    Without synchronous standbys (`active` is false) nothing of this happens.
    """

    def __init__(self, engine: AsyncEngine, *, timeout_seconds: float, pooled: bool = False) -> None:
        self._engine = engine  # for the looks alone
        self._timeout_seconds = timeout_seconds
        self._pooled = pooled
        self._server: Server | None = None
        self._position: int | None = None
        self._look: asyncio.Task[bool] | None = None
        self._look_started = 0.0
        self._log = SparingLog(__name__)
        self.active = False

    def watch(self, engine: AsyncEngine) -> None:
        """Keep the connections of this pool on one server. Behind a pooler only the looks can tell."""
        if self._pooled:
            return

        @event.listens_for(engine.sync_engine, "connect")
        def _connected(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
            if self.active:
                record.info[_SERVER] = server = _ask_identity(connection)
                self._meet(server)

        @event.listens_for(engine.sync_engine, "checkout")
        def _taken(_connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
            if self.active and record.info.get(_SERVER) != self._server:
                raise DisconnectionError("the connection leads to another server than the newest one")

    async def check(self, connection: AsyncConnection) -> None:
        """Find out whether the server has synchronous standbys."""
        self._set_active(bool((await connection.execute(_STANDBYS)).scalar_one()))

    def confirm(self, position: int, server: Server | None) -> None:
        """Note that the event at `position` was committed on `server` without a warning."""
        if self.active and server is not None and server == self._server:
            self._position = max(position, self._position or 0)

    async def bound(self) -> int | None:
        """The position up to which readers may show events; None when they may show all.

        Waits for a look that began after the call, but not for long.

        Raises:
            NotYetDurable: when no position is known to be durable.
        """
        if self.active and (self._position is None or not self._is_overdue()):
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._look_again()
        if not self.active:
            return None
        if self._position is None:
            raise NotYetDurable
        return self._position

    async def reach(self, position: int) -> None:
        """Return once the event at `position` is durable.

        Raises:
            NotYetDurable: when that takes longer than a statement may.
        """
        if not self._is_beyond(position):
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while self._is_beyond(position):
                    if not await self._look_again():
                        await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            raise NotYetDurable from None

    async def close(self) -> None:
        if self._look is not None:
            await wait_or_cancel(self._look, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._engine.dispose()

    def _is_beyond(self, position: int) -> bool:
        return self.active and (self._position is None or position > self._position)

    def _is_overdue(self) -> bool:
        if self._look is None or self._look.done():
            return False
        return asyncio.get_running_loop().time() - self._look_started > PATIENCE_SECONDS

    async def _look_again(self) -> bool:
        """Wait for a look that begins after the call; returns whether it succeeded."""
        if (earlier := self._look) is not None:
            await asyncio.wait({earlier})
        if self._look is None or self._look is earlier:
            self._look_started = asyncio.get_running_loop().time()
            # A context of its own: it serves many requests, so its log lines must not carry the first one's id.
            self._look = asyncio.create_task(self._run_look(), name="durability-look", context=Context())
        look = self._look
        await asyncio.wait({look})
        return not look.cancelled() and look.result()

    async def _run_look(self) -> bool:
        try:
            with database_errors():
                while not await self._see():
                    pass
        except Exception as error:  # noqa: BLE001 - after any error readers go on with the known position
            self._log.warning("durability is not confirmed", reason=describe(error.__cause__ or error))
            return False
        return True

    async def _see(self) -> bool:
        """Look once; false when that met another server than the last time, for which nothing is known."""
        asked, known = self._server, self._position or 0
        async with self._engine.connect() as connection, never_cancelled(connection), connection.begin():
            head, started_at, timeline, has_standbys, _ = (await connection.execute(_LOOK, {"known": known})).one()
        self._set_active(has_standbys)
        if not has_standbys:
            return True
        server = Server(started_at, timeline)
        if server != asked and known:
            self._forget(server)
            return False
        self._server = server
        self._position = max(head, self._position or 0)
        return True

    def _set_active(self, active: bool) -> None:
        if active != self.active:
            log.info("synchronous standbys", configured=active)
            self.active = active
            self._forget(None)

    def _meet(self, server: Server) -> None:
        if server == self._server:
            return
        if self._server is not None and self._look is not None:
            self._look.cancel()  # it may wait for a server that is gone
        self._forget(server)

    def _forget(self, server: Server | None) -> None:
        self._server = server
        self._position = None


def _ask_identity(connection: DBAPIConnection) -> Server:
    cursor = connection.cursor()
    cursor.execute(f"SELECT {_IDENTITY}")
    [row] = cursor.fetchall()
    cursor.close()
    connection.rollback()
    return Server(*row)
