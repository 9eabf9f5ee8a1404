"""Brings the schema up to date when the service starts, or reports that it is not."""

from functools import partial
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.database.engine import Database
from app.database.errors import database_errors, is_denied
from app.database.migrator import migrate, read_revision
from app.errors import StartupRefused

log = structlog.get_logger(__name__)

LEDGER_TABLE = "ledger_head"
START_PATIENCE_SECONDS = 30
LATER = "the schema is of a later release than this one"


class NotMigrated(StartupRefused):
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
        """The fault of a revision that this release cannot work at, and the command that helps."""
        found = revision or "nothing"
        return f"the schema is at {found} and this release needs {self.head}: run `alembic upgrade head`"


async def prepare_schema(database: Database, settings: Settings, schema: Schema) -> None:
    """Migrate the database unless its schema is current, or DATABASE_MIGRATE_ON_START is false.

    Raises:
        NotMigrated: the schema is behind and stays so, with what to do; it is another program's.
        MigrationBlocked: another session has held a lock that the migration needs for 30 seconds.
        DatabaseUnavailable: when the database cannot be reached.
    """
    async with database.read() as session:
        current = await (await session.connection()).run_sync(read_revision)
    if schema.is_newer(current):
        await _check_ours(database, current)
        log.warning(LATER, schema=current, head=schema.head)
    elif schema.serves(current):
        return
    elif not settings.database_migrate_on_start:
        raise NotMigrated(schema.explain(current))
    elif database.is_sqlite:
        async with database.transaction() as session:
            await (await session.connection()).run_sync(upgrade)
    elif not settings.database_prepared_statements:
        raise NotMigrated(f"{schema.explain(current)}, with a DATABASE_URL that leads past the pooler")
    else:
        await _migrate_postgresql(settings, schema, schema.explain(current))


async def _migrate_postgresql(settings: Settings, schema: Schema, explanation: str) -> None:
    try:
        with database_errors():
            await migrate(settings, partial(_upgrade_in_turn, schema), patience_seconds=START_PATIENCE_SECONDS)
    except DBAPIError as error:
        if not is_denied(error):
            raise
        raise NotMigrated(f"{explanation} as the owner of the tables; this role may not migrate") from None


async def _check_ours(database: Database, revision: str | None) -> None:
    """Make sure that a revision that we do not know is one of a later release of this service."""
    async with database.read() as session:
        names = await (await session.connection()).run_sync(lambda connection: inspect(connection).get_table_names())
    if LEDGER_TABLE not in names:
        raise NotMigrated(
            f"the database is another program's: its alembic_version is {revision}, and it has no {LEDGER_TABLE}; "
            "give the service a database of its own"
        )


def _upgrade_in_turn(schema: Schema, connection: Connection) -> None:
    """Run the missing migrations, unless a later release has migrated while this one waited for the lock."""
    current = read_revision(connection)
    connection.rollback()  # in a transaction that has begun, Alembic would run all migrations together
    if schema.is_newer(current):
        log.warning(LATER, schema=current, head=schema.head)
    else:
        upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run all migrations that are missing on an open connection."""
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
