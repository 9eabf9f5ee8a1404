"""Settings of the database, of the ledger in it, of the feed that follows it, and of the sweep."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.config.types import Database, Delay, Seconds


class DatabaseSettings(BaseModel):
    """The connection to the database, and its time-outs."""

    database_url: Database = Field(
        "sqlite:///./sync.db", repr=False, description="SQLite or PostgreSQL, in any usual form"
    )
    database_pool_size: int = Field(
        20,
        ge=1,
        le=500,
        description="Connections kept open per process; a quarter of all is left to appends, the sweep and deliveries",
    )
    database_max_overflow: int = Field(
        0, ge=0, le=500, description="Further connections opened under load, and closed as soon as they are free"
    )
    database_pool_timeout: Seconds = Field(
        3, description="Seconds to wait for a free connection, or another permit, before a 429 or a 503"
    )
    database_connect_timeout: Seconds = Field(3, description="Seconds to wait for a new connection")
    database_start_timeout: Delay = Field(
        60, description="Seconds to wait at start for a PostgreSQL that is not there yet, or is starting; 0: none"
    )
    database_migrate_on_start: bool = Field(
        True, description="false: a PostgreSQL or SQLite with an old schema is refused at start instead of migrated"
    )
    database_statement_timeout: Seconds = Field(10, description="Seconds one statement may take")
    database_lock_timeout: Seconds = Field(
        5, description="Seconds to wait for a lock (PostgreSQL) or for another writer (SQLite)"
    )
    database_idle_transaction_timeout: Seconds = Field(
        10, description="Seconds after which PostgreSQL ends the transaction of a stalled replica"
    )
    database_prepared_statements: bool = Field(True, description="false behind PgBouncer in transaction mode")


class LedgerSettings(BaseModel):
    """Appends of events."""

    ledger_group_size: int = Field(500, ge=1, le=10_000, description="Maximum number of events in one group commit")
    ledger_queue_size: int = Field(
        10_000, ge=1, le=1_000_000, description="Events that may wait for a commit; more get 503"
    )
    ledger_append_timeout: Seconds = Field(10, description="Seconds a POST may wait for its commit before a 503")


class ChangeSettings(BaseModel):
    """The change feed."""

    changes_poll_interval: Seconds = Field(
        0.2, description="Seconds between checks for new events while streams or long polls wait"
    )
    changes_keep_alive: Seconds = Field(
        15, description="Seconds of silence after which a stream gets a comment; less than a proxy's time-out"
    )
    changes_cursor_version: int = Field(
        2,
        ge=1,
        le=2,
        description="Version of the feed's cursors; 1 while replicas of a release that refuses version 2 run "
        "or may return",
    )
    max_change_streams: int = Field(
        2000, ge=0, le=100_000, description="Concurrent streams and long polls per process; more get 429 or 503"
    )


class SweepSettings(BaseModel):
    """The sweep."""

    sync_event_process_interval: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = Field(
        5, description="How often pending events are processed, in seconds; fractions are fine"
    )
    sync_event_batch_size: int = Field(1000, ge=1, le=10_000, description="Events processed in one transaction")
    sync_event_max_attempts: int = Field(
        5, ge=1, le=100, description="Attempts after which a failing event is set aside"
    )
