"""Runs migrations on the database of the settings, or on a connection that the service hands over."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import SchemaItem

import app.consistency.models
import app.events.models
import app.files.models
import app.subscriptions.models  # noqa: F401 - models register themselves with the metadata
from app.config import Settings, load_settings
from app.database.errors import connection_failed
from app.database.migrator import MigrationBlocked, migrate
from app.database.types import Base
from app.errors import describe
from app.log import configure_logging


def is_compared(_item: SchemaItem, name: str | None, kind: str, *_: object) -> bool:
    """Whether models and database must agree on it: SQLite, which locks no rows, keeps a foreign key without use."""
    return not (kind == "foreign_key_constraint" and name == "fk_deliveries_subscription_id_subscriptions")


def run(connection: Connection) -> None:
    """Run the migrations, each in a transaction of its own, or all in the one that the connection has begun."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        include_object=is_compared,
        transaction_per_migration=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def settings() -> Settings:
    """The settings, without the guards of production: a migration needs its database alone."""
    return load_settings(environment="development")


def connect_and_run() -> None:
    """Migrate on a connection of our own.

    Raises:
        SystemExit: with one sentence, when the database cannot be used or another session holds a lock for too long.
    """
    try:
        asyncio.run(migrate(settings(), run))
    except MigrationBlocked as error:
        raise SystemExit(str(error)) from None
    except (DBAPIError, OSError, TimeoutError) as error:
        if isinstance(error, DBAPIError) and not connection_failed(error):
            raise
        raise SystemExit(f"DATABASE_URL: {describe(error)}") from None


def run_offline() -> None:
    """Print the SQL instead of running it: `alembic upgrade head --sql`."""
    context.configure(
        url=settings().database.url,
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over: Connection | None = context.config.attributes.get("connection")
if handed_over is None:
    configure_logging(level=settings().log_level, as_json=settings().log_json)
if context.is_offline_mode():
    run_offline()
elif handed_over is not None:
    run(handed_over)
else:
    connect_and_run()
