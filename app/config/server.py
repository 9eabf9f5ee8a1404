"""Settings of the server and its operation, of the API, and of the tokens that it accepts."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from app.config.types import Algorithms, Delay, Host, Networks, Origins, Rate, RootPath, Seconds, Secret


class ServerSettings(BaseModel):
    """Where the service listens and what a connection may do, environment, logs and shutdown."""

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
        "development", description="production refuses local mode, a placeholder tenant and unsafe configurations"
    )
    console_enabled: bool = Field(True, description="false: there is no operator console at /console")
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


class ApiSettings(BaseModel):
    """The name of the API, the limits of requests, and the tokens that it accepts."""

    # Requests
    api_title: str = Field("Synchronization Service API", description="Title in / and in the API documentation")
    api_version: str = Field("1.0.0", description="Version in / and in the API documentation")
    api_description: str = Field(
        "Service for handling synchronization events", description="Description in / and in the documentation"
    )
    max_event_bytes: int = Field(
        131_072, ge=1024, le=2**30, description="Largest body of one POSTed event, in bytes; larger gets 413"
    )
    max_batch_bytes: int = Field(
        4_194_304,
        ge=1024,
        le=2**30,
        description="Largest body of a batch, or of a bulk requeue or redelivery, in bytes; larger gets 413",
    )
    body_timeout: Seconds = Field(10, description="Seconds a body may take to arrive; slower gets 408")
    max_concurrent_requests: int = Field(
        400, ge=1, le=100_000, description="Concurrent requests per process; more get 429 or 503"
    )
    rate_limit_per_second: Rate = Field(
        2000,
        description="Requests per second that one token subject may send to one process; more get 429; 0: no limit",
    )
    rate_limit_burst: int = Field(
        10_000, ge=1, le=1_000_000, description="Requests that a token subject may send in a burst after a pause"
    )
    cors_allow_origins: Origins = Field(
        (), description="Origins whose pages may call the API from a browser, comma-separated, or `*`; empty: none"
    )

    # Tokens of local mode
    secret_key: Secret = Field("", repr=False, description="Signs local-mode tokens (HS256); at least 32 characters")
    secret_key_file: Path = Field(
        Path(".secret_key"), description="File of the key that local mode generates when SECRET_KEY is empty"
    )
    access_token_expire_minutes: int = Field(
        60, ge=1, le=525_600, description="Lifetime of tokens minted by `python -m app token`, in minutes"
    )

    # Tokens of Auth0
    auth0_domain: Host = Field("", description="Auth0 tenant, e.g. example.eu.auth0.com; empty means local mode")
    api_audience: str = Field(
        "https://cloud-api.rakai/", min_length=1, description="Required audience (`aud`) of a token"
    )
    algorithms: Algorithms = Field(
        ("RS256",), description="Accepted signature algorithms, comma-separated, asymmetric ones only"
    )
    auth_enforce_scopes: bool = Field(
        False,
        description="true: POSTs of events need write:sync, and routes that do not need admin:sync need read:sync",
    )
    auth0_console_client_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,128}$",
        description="Client id of the single-page application at Auth0 with which operators log in at /console",
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
