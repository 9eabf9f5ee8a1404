"""Brings SQLite up to date at start-up and tells whether PostgreSQL is."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.database.engine import Database

MIGRATION_LOCK = 0x53594E43  # "SYNC": the advisory lock that migrating processes share


class NotMigrated(Exception):
    """The database's schema is not the one this code was written for."""


def alembic_config() -> Config:
    """Alembic's configuration, wherever the process was started."""
    return Config(Path(__file__).parents[2] / "alembic.ini")


async def prepare_schema(database: Database) -> None:
    """Migrate SQLite; check PostgreSQL.

    Raises:
        NotMigrated: when PostgreSQL's schema is not at head, naming the command that helps.
        DatabaseUnavailable: when the database can not be reached.
    """
    if database.is_sqlite:
        async with database.transaction() as session:
            await (await session.connection()).run_sync(_upgrade)
        return
    current, head = await schema_revisions(database)
    if current != head:
        raise NotMigrated(
            f"the schema is at {current or 'nothing'} and this release needs {head}: run `alembic upgrade head`"
        )


async def schema_revisions(database: Database) -> tuple[str | None, str | None]:
    """The revision that the database is at, and the one this code needs."""
    async with database.read() as session:
        current = await (await session.connection()).run_sync(
            lambda connection: MigrationContext.configure(connection).get_current_revision()
        )
    return current, ScriptDirectory.from_config(alembic_config()).get_current_head()


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
