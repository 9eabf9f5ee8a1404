"""Brings SQLite up to date at start-up and tells whether PostgreSQL is."""

from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from app.database.engine import Database

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x53594E43  # "SYNC": the advisory lock that migrating processes share
LEDGER_TABLE = "ledger_head"


class NotMigrated(Exception):
    """The database's schema is not the one this code was written for."""


def alembic_config() -> Config:
    """Alembic's configuration, wherever the process was started."""
    return Config(Path(__file__).parents[2] / "alembic.ini")


class Schema:
    """The revisions of the schema that this release knows."""

    def __init__(self) -> None:
        scripts = ScriptDirectory.from_config(alembic_config())
        self.head = scripts.get_current_head()
        self._known = frozenset(script.revision for script in scripts.walk_revisions())

    def is_newer(self, revision: str | None) -> bool:
        """Whether a later release has migrated the database: then this one does not know the revision."""
        return revision is not None and revision not in self._known

    def serves(self, revision: str | None) -> bool:
        """Whether this release can work at `revision`: at its own head, or at that of a later release.

        Migrations only add to what the release before them needs, so that replicas of both can run side by side.
        """
        return revision == self.head or self.is_newer(revision)

    def explain(self, revision: str | None) -> str:
        """What is wrong with a revision that this release cannot work at, and the command that helps."""
        found = revision or "nothing"
        return f"the schema is at {found} and this release needs {self.head}: run `alembic upgrade head`"


async def prepare_schema(database: Database, schema: Schema) -> None:
    """Migrate SQLite; check PostgreSQL.

    Raises:
        NotMigrated: when PostgreSQL's schema is behind, naming the command that helps; when it is another program's.
        DatabaseUnavailable: when the database cannot be reached.
    """
    current = await _current_revision(database)
    if schema.is_newer(current):
        await _check_ours(database, current)
        log.warning("the schema is of a later release than this one", schema=current, head=schema.head)
    elif database.is_sqlite:
        async with database.transaction() as session:
            await (await session.connection()).run_sync(_upgrade)
    elif not schema.serves(current):
        raise NotMigrated(schema.explain(current))


async def _check_ours(database: Database, revision: str | None) -> None:
    """Make sure that a revision that we do not know is one of a later release of this service."""
    async with database.read() as session:
        names = await (await session.connection()).run_sync(lambda connection: inspect(connection).get_table_names())
    if LEDGER_TABLE not in names:
        raise NotMigrated(
            f"the database is another program's: its alembic_version is {revision}, and it has no {LEDGER_TABLE}; "
            "give the service a database of its own"
        )


async def _current_revision(database: Database) -> str | None:
    async with database.read() as session:
        return await (await session.connection()).run_sync(
            lambda connection: MigrationContext.configure(connection).get_current_revision()
        )


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
