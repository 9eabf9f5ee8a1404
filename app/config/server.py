"""Settings of the server and of its operation."""

from typing import Literal

from pydantic import BaseModel, Field

from app.config.types import Delay, Networks, RootPath, Seconds


class ServerSettings(BaseModel):
    """Where the service listens, and what a connection may do."""

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


class OperationSettings(BaseModel):
    """Environment, logs and shutdown."""

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
