"""Refuses a database that could not keep the promise of a 201, at the start and while the service runs."""

from sqlalchemy import text

from app.database.engine import Database

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


async def check_standbys(database: Database) -> None:
    """Find out whether PostgreSQL has synchronous standbys, for whom readers have to wait."""
    if not database.is_sqlite:
        async with database.connection() as connection:
            await database.watermark.check(connection)
