"""Settings of the database and of the domains: ledger, feed, sweep, webhooks, consistency checks."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.config.types import BearerToken, Database, Delay, Interval, Ports, Seconds, Secrets, ServiceUrl


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


class DomainSettings(BaseModel):
    """The ledger, its feed, its sweep, webhooks, and the pace of consistency checks."""

    # Ledger
    ledger_group_size: int = Field(500, ge=1, le=10_000, description="Maximum number of events in one group commit")
    ledger_queue_size: int = Field(
        10_000, ge=1, le=1_000_000, description="Events that may wait for a commit; more get 503"
    )
    ledger_append_timeout: Seconds = Field(10, description="Seconds a POST may wait for its commit before a 503")

    # Change feed
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

    # Sweep
    sync_event_process_interval: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = Field(
        5, description="How often pending events are processed, in seconds; fractions are fine"
    )
    sync_event_batch_size: int = Field(1000, ge=1, le=10_000, description="Events processed in one transaction")
    sync_event_max_attempts: int = Field(
        5, ge=1, le=100, description="Attempts after which a failing event is set aside"
    )

    # Webhooks
    webhook_allow_private_addresses: bool = Field(
        False, description="true: subscribers and sources may have private, loopback and other non-public addresses"
    )
    webhook_ports: Ports = Field(
        (80, 443, 8080, 8443), description="Ports that subscribers and sources may use, comma-separated; 0: any"
    )
    webhook_encryption_keys: Secrets = Field(
        "",
        repr=False,
        description="Keys that encrypt the secrets and headers of subscriptions and the headers of sources, "
        "comma-separated, each of at least 32 characters: the first encrypts, all decrypt; SECRET_KEY, or the "
        "generated key of local mode, comes last",
    )
    webhook_max_subscriptions: int = Field(
        100, ge=0, le=10_000, description="Maximum number of subscriptions; a further one gets 409"
    )
    webhook_timeout: Seconds = Field(15, description="Seconds an attempt may take, to the end of the response")
    webhook_concurrency: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Concurrent deliveries per process, of all subscriptions together; one subscription gets at "
        "most three quarters; a subscription without a delivery under way gets one even beyond this number",
    )
    webhook_poll_interval: Seconds = Field(
        1, description="Seconds between checks for due deliveries; a sweep in the same process triggers a check too"
    )
    webhook_lease: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = Field(
        10, description="Seconds after which the deliveries and checks of a dead replica are due again"
    )
    webhook_retry_interval: Seconds = Field(
        5, description="Seconds before the second attempt; each further wait is three times as long, up to 8 hours"
    )
    webhook_retry_hours: Annotated[float, Field(gt=0, le=8760, allow_inf_nan=False)] = Field(
        72, description="Approximate hours after which a failing delivery is dead"
    )
    webhook_disable_days: Annotated[float, Field(gt=0, le=365, allow_inf_nan=False)] = Field(
        5, description="Days with failures only after which a subscription is disabled"
    )
    webhook_retention_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = Field(
        30,
        description="Days for which attempts and delivered deliveries are kept; dead deliveries and the last delivered "
        "one of each file and subscription stay",
    )

    # Consistency
    consistency_files_per_second: int = Field(
        2000, ge=0, le=1_000_000, description="Files that a check of a source compares per second; 0: no limit"
    )
    consistency_concurrency: int = Field(8, ge=1, le=1000, description="Concurrent file checks of a source per process")
    consistency_timeout: Seconds = Field(10, description="Seconds a request to a source may take")
    consistency_full_interval: Interval = Field(0, description="Seconds between checks of a whole source; 0: none")


class CloudSettings(BaseModel):
    """The metadata service and the block store beside this service: the source of kind `cloud`."""

    metadata_service_url: ServiceUrl = Field(
        "", description="Base URL of the metadata service; with that of the block store, the source `cloud` exists"
    )
    block_storage_service_url: ServiceUrl = Field("", description="Base URL of the block store")
    consistency_token: BearerToken = Field(
        "",
        repr=False,
        description="Bearer token for both services; empty: a token that Auth0 issues for AUTH0_CLIENT_ID",
    )
    consistency_token_sees_all: bool = Field(
        False, description="true: the token sees the files of all users, so that a 404 means that there is no file"
    )
    auth0_client_id: str = Field("", description="Client id for tokens for both services (client credentials)")
    auth0_client_secret: str = Field("", repr=False, description="Secret of AUTH0_CLIENT_ID")
