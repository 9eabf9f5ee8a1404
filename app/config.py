"""Settings: every knob of the service, read from the environment or `.env` and checked at start-up."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.database.url import DatabaseUrl, parse_database_url
from app.setting_types import (
    PLACEHOLDERS,
    Algorithms,
    Database,
    Delay,
    Host,
    Interval,
    Networks,
    Origins,
    Ports,
    Rate,
    RootPath,
    Seconds,
    Secret,
    Secrets,
    explain,
)


class Settings(BaseSettings):
    """All settings. Field names, upper-cased, are the names of the environment variables."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, frozen=True)

    # Database
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
    database_statement_timeout: Seconds = Field(10, description="Seconds one statement may take")
    database_lock_timeout: Seconds = Field(
        5, description="Seconds to wait for a lock (PostgreSQL) or for another writer (SQLite)"
    )
    database_idle_transaction_timeout: Seconds = Field(
        10, description="Seconds after which PostgreSQL ends the transaction of a stalled replica"
    )
    database_prepared_statements: bool = Field(True, description="false behind PgBouncer in transaction mode")

    # API
    api_title: str = Field("Synchronization Service API", description="Title in / and in the API documentation")
    api_version: str = Field("1.0.0", description="Version in / and in the API documentation")
    api_description: str = Field(
        "Service for handling synchronization events", description="Description in / and in the documentation"
    )
    max_event_bytes: int = Field(
        131_072, ge=1024, le=2**30, description="Largest body of one POSTed event, in bytes; larger gets 413"
    )
    max_batch_bytes: int = Field(
        4_194_304, ge=1024, le=2**30, description="Largest body of a POSTed batch, in bytes; larger gets 413"
    )
    body_timeout: Seconds = Field(10, description="Seconds a body may take to arrive; slower gets 408")
    max_concurrent_requests: int = Field(
        400, ge=1, le=100_000, description="Requests under way at once per process; more get 429 or 503"
    )
    rate_limit_per_second: Rate = Field(
        2000,
        description="Requests per second that one token subject may send to one process; more get 429; 0: no limit",
    )
    rate_limit_burst: int = Field(
        10_000, ge=1, le=1_000_000, description="Requests that a token subject may send at once after a pause"
    )
    cors_allow_origins: Origins = Field(
        (), description="Origins whose pages may call the API from a browser, comma-separated, or `*`; empty: none"
    )

    # Security
    secret_key: Secret = Field("", repr=False, description="Signs local-mode tokens (HS256); at least 32 characters")
    secret_key_file: Path = Field(
        Path(".secret_key"), description="File of the key that local mode generates when SECRET_KEY is empty"
    )
    access_token_expire_minutes: int = Field(
        60, ge=1, le=525_600, description="Lifetime of tokens minted by `python -m app token`, in minutes"
    )

    # Auth0
    auth0_domain: Host = Field("", description="Auth0 tenant, e.g. example.eu.auth0.com; empty means local mode")
    api_audience: str = Field(
        "https://cloud-api.rakai/", min_length=1, description="Required audience (`aud`) of a token"
    )
    algorithms: Algorithms = Field(
        ("RS256",), description="Accepted signature algorithms, comma-separated, asymmetric ones only"
    )
    auth_enforce_scopes: bool = Field(
        False, description="true: event routes also need the scopes read:sync and write:sync"
    )
    auth_leeway_seconds: int = Field(10, ge=0, le=300, description="Clock difference allowed in exp, nbf and iat")
    auth_token_cache_size: int = Field(
        10_000, ge=0, le=1_000_000, description="Verified tokens cached per process; 0 turns the cache off"
    )
    jwks_refresh_seconds: Seconds = Field(600, description="Seconds between fetches of the signing keys")
    jwks_max_age_seconds: Seconds = Field(
        86_400, description="Seconds after which unconfirmed signing keys stop working, e.g. in a long outage of Auth0"
    )
    jwks_cooldown_seconds: Seconds = Field(
        30, description="Seconds within which unknown key ids cause at most one fetch"
    )
    jwks_timeout_seconds: Seconds = Field(5, description="Seconds one fetch of the signing keys may take")

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
        2000, ge=0, le=100_000, description="Streams and long polls open at once per process; more get 429 or 503"
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
        description="Keys that encrypt the secrets of subscriptions, comma-separated, each of at least 32 characters: "
        "the first encrypts, all decrypt; SECRET_KEY, or the generated key of local mode, comes last",
    )
    webhook_max_subscriptions: int = Field(
        100, ge=0, le=10_000, description="Maximum number of subscriptions; a further one gets 409"
    )
    webhook_timeout: Seconds = Field(15, description="Seconds an attempt may take, to the end of the response")
    webhook_concurrency: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Deliveries under way at once per process, of all subscriptions together; one subscription gets at "
        "most three quarters; one without a delivery under way always gets one, even beyond this number",
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
    consistency_concurrency: int = Field(8, ge=1, le=1000, description="Looks at files of a source at once per process")
    consistency_timeout: Seconds = Field(10, description="Seconds a request to a source may take")
    consistency_full_interval: Interval = Field(0, description="Seconds between checks of a whole source; 0: none")

    # Server
    server_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address that `python -m app serve` listens on; 0.0.0.0: all addresses; unix:/path: a Unix socket",
    )
    server_port: int = Field(8000, ge=1, le=65_535, description="Port that `python -m app serve` listens on")
    root_path: RootPath = Field(
        "", description="Prefix that a proxy strips, e.g. /api/sync, for the addresses in the API documentation"
    )
    forwarded_allow_ips: Networks = Field(
        ("127.0.0.1",),
        description="Proxies whose X-Forwarded-* headers are believed: addresses or networks, comma-separated, or *",
    )
    max_header_bytes: int = Field(
        32_768, ge=1024, le=1_048_576, description="Largest request line with its headers, in bytes; larger gets 431"
    )
    header_timeout: Seconds = Field(10, description="Seconds a request's headers may take to arrive; slower gets 408")
    keep_alive_timeout: int = Field(
        75, ge=1, le=3600, description="Seconds an idle connection stays open; longer than the load balancer's own"
    )
    web_concurrency: int = Field(1, ge=1, le=256, description="Worker processes; uvicorn reads the same variable")
    metrics_port: int = Field(0, ge=0, le=65_535, description="Separate port for /metrics; 0: the port of the API")

    # Operation
    environment: Literal["development", "production"] = Field(
        "development", description="production refuses local mode, placeholder secrets and unsafe configurations"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: json in production, text in development"
    )
    shutdown_delay: Delay = Field(
        0,
        description="Seconds between SIGTERM, which turns /health/ready red, and the closing of the listening socket",
    )
    shutdown_request_timeout: int = Field(
        15, ge=1, le=3600, description="Seconds that requests under way get to finish at shutdown"
    )
    shutdown_timeout: Seconds = Field(
        10, description="Seconds that the running sweep batch, and then open commits, get to finish at shutdown"
    )

    @model_validator(mode="after")
    def _fit_for_each_other(self) -> Self:
        if self.jwks_refresh_seconds * 2 > self.jwks_max_age_seconds:
            raise ValueError("JWKS_REFRESH_SECONDS must be at most half of JWKS_MAX_AGE_SECONDS")
        if self.metrics_port == self.server_port:
            raise ValueError("METRICS_PORT must differ from SERVER_PORT")
        return self

    @model_validator(mode="after")
    def _fit_for_production(self) -> Self:
        if self.environment != "production":
            return self
        if not self.auth0_domain:
            raise ValueError("AUTH0_DOMAIN must be set when ENVIRONMENT=production (local mode is for development)")
        for name in ("auth0_domain", "secret_key"):
            if getattr(self, name) in PLACEHOLDERS:
                raise ValueError(f"{name.upper()} still has its placeholder value; ENVIRONMENT=production refuses it")
        if self.database.is_sqlite and self.web_concurrency > 1:
            raise ValueError("DATABASE_URL names SQLite, which serves one worker: WEB_CONCURRENCY=1, or use PostgreSQL")
        return self

    @property
    def database(self) -> DatabaseUrl:
        """The parsed `DATABASE_URL`."""
        return parse_database_url(self.database_url)

    @property
    def local_mode(self) -> bool:
        """Whether tokens are our own (HS256) instead of Auth0's."""
        return not self.auth0_domain

    @property
    def log_json(self) -> bool:
        """Whether log lines are JSON objects."""
        return self.log_format == "json" or (self.log_format == "auto" and self.environment == "production")


def load_settings(**overrides: str) -> Settings:
    """Read the settings of this process; `overrides`, by field name, win over the environment.

    Raises:
        SystemExit: with one line per wrong variable, naming it and never its value.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # checked by pydantic, like the environment
    except UnicodeDecodeError:
        lines = [".env: is not UTF-8 text"]
    except ValidationError as error:
        lines = explain(error)
    raise SystemExit("\n  ".join(["Sync Service cannot start, invalid settings:", *lines]))
