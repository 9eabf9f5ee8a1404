"""Refuses a database that could not keep the promise of a 201."""

from sqlalchemy import text

from app.database.engine import Database


class NotDurable(Exception):
    """The database answers a commit before it is on disk."""


async def check_durability(database: Database) -> None:
    """Make sure that a commit is flushed to disk before it is answered.

    SQLite is set so on each of our connections; PostgreSQL says how it is set for ours.

    Raises:
        NotDurable: naming the setting of PostgreSQL to change.
    """
    if database.is_sqlite:
        return
    async with database.read() as session:
        for setting in ("fsync", "synchronous_commit"):
            value = await session.scalar(text("SELECT current_setting(:setting)").bindparams(setting=setting))
            if value == "off":
                raise NotDurable(f"PostgreSQL has {setting} = off, so an event it confirmed could be lost: turn it on")


async def check_standbys(database: Database) -> None:
    """Find out whether PostgreSQL has synchronous standbys, for whom readers have to wait."""
    if not database.is_sqlite:
        async with database.connection() as connection:
            await database.watermark.check(connection)
