"""Settings: every knob of the service, read from the environment or `.env` and checked at start-up."""

from typing import Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.config import domains, server
from app.config.types import PLACEHOLDERS, explain
from app.database.url import DatabaseUrl, parse_database_url


# The last base comes first in the order of the fields, which is that of .env.example.
class Settings(
    server.ServerSettings,
    domains.CloudSettings,
    domains.DomainSettings,
    server.ApiSettings,
    domains.DatabaseSettings,
    BaseSettings,
):
    """All settings. Field names, upper-cased, are the names of the environment variables."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, frozen=True)

    @model_validator(mode="after")
    def _fit_for_each_other(self) -> Self:
        if self.jwks_refresh_seconds * 2 > self.jwks_max_age_seconds:
            raise ValueError("JWKS_REFRESH_SECONDS must be at most half of JWKS_MAX_AGE_SECONDS")
        if self.metrics_port == self.server_port:
            raise ValueError("METRICS_PORT must differ from SERVER_PORT")
        if bool(self.metadata_service_url) != bool(self.block_storage_service_url):
            raise ValueError("METADATA_SERVICE_URL and BLOCK_STORAGE_SERVICE_URL must be set together")
        if bool(self.auth0_client_id) != bool(self.auth0_client_secret):
            raise ValueError("AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET must be set together")
        if self.auth0_client_id and self.local_mode:
            raise ValueError("AUTH0_CLIENT_ID needs AUTH0_DOMAIN")
        return self

    @model_validator(mode="after")
    def _fit_for_production(self) -> Self:
        if self.environment != "production":
            return self
        if not self.auth0_domain:
            raise ValueError("AUTH0_DOMAIN must be set when ENVIRONMENT=production (local mode is for development)")
        if self.auth0_domain in PLACEHOLDERS:
            raise ValueError("AUTH0_DOMAIN still has its placeholder value: name your tenant, e.g. example.auth0.com")
        if self.database.is_sqlite and self.web_concurrency > 1:
            raise ValueError("DATABASE_URL names SQLite, which serves one worker: WEB_CONCURRENCY=1, or use PostgreSQL")
        return self

    @property
    def database(self) -> DatabaseUrl:
        return parse_database_url(self.database_url)

    @property
    def local_mode(self) -> bool:
        """Whether tokens are our own (HS256) instead of Auth0's."""
        return not self.auth0_domain

    @property
    def log_json(self) -> bool:
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
    if len(lines) == 1:
        raise SystemExit(f"Sync Service cannot start: {lines[0]}")
    raise SystemExit("\n  ".join(["Sync Service cannot start, invalid settings:", *lines]))
