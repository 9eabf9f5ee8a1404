"""Refuses a database that could not keep the promise of a 201, at the start and while the service runs."""

import asyncio

from sqlalchemy import text

from app.database.engine import Database
from app.database.writability import READ_ONLY

INTERVAL_SECONDS = 5
FSYNC = "fsync"
FSYNC_OFF = "PostgreSQL has fsync = off, so an event it confirmed could be lost: turn it on"


class NotDurable(Exception):
    """The database confirms a commit before it is on disk."""


async def check_durability(database: Database) -> None:
    """Make sure that a commit is flushed to disk before it is confirmed.

    What depends on the session is set on each of our connections; `fsync` is the server's own.

    Raises:
        NotDurable: when PostgreSQL does not flush at all.
    """
    if database.is_sqlite:
        return
    async with database.read() as session:
        if await session.scalar(text("SELECT current_setting('fsync')")) == "off":
            raise NotDurable(FSYNC_OFF)


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
            writability.refuse(FSYNC, FSYNC_OFF)
        else:
            writability.allow(FSYNC)
        if is_read_only:
            writability.report_read_only()
        else:
            writability.allow(READ_ONLY)
