"""Runs migrations on the database of the settings, or on a connection that the service hands over."""

import asyncio

from alembic import context
from sqlalchemy import Connection

import app.consistency.models
import app.events.models
import app.files.models
import app.subscriptions.models  # noqa: F401 - models register themselves with the metadata
from app.config import Settings, load_settings
from app.database.connection import create_engine
from app.database.migrations import MIGRATION_LOCK
from app.database.types import Base
from app.log import configure_logging

PATIENCE_SECONDS = 3600


def run(connection: Connection) -> None:
    """Run the migrations in one transaction, one replica at a time."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.run_migrations()


def settings() -> Settings:
    """The settings, without the guards of production: a migration needs its database alone."""
    return load_settings(environment="development")


async def connect_and_run() -> None:
    """Open a connection of our own and migrate, with time for large tables and for another migration to end."""
    limits = dict.fromkeys(("database_statement_timeout", "database_lock_timeout"), PATIENCE_SECONDS)
    engine = create_engine(settings().model_copy(update=limits))
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


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
    asyncio.run(connect_and_run())
