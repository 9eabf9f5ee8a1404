"""Reads `DATABASE_URL` in every form that people write it and turns it into what the async drivers take."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_SQLITE = frozenset({"sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"})
_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"})
_POSTGRESQL_OPTIONS = frozenset({"sslmode", "ssl", "host", "port"})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A URL with its async driver, and the arguments that the driver takes beside it."""

    url: URL
    connect_args: dict[str, Any]

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite; else it is PostgreSQL."""
        return self.url.get_backend_name() == "sqlite"


def parse_database_url(text: str) -> DatabaseUrl:
    """Parse `sqlite:///…`, `postgresql://…`, `postgres://…` (with `?sslmode=`) or an async driver form.

    Raises:
        ValueError: when no supported database is named; the message never contains the URL (it holds a password).
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise ValueError("must look like sqlite:///./sync.db or postgresql://user:password@host/database") from None
    if url.drivername in _SQLITE:
        return DatabaseUrl(_sqlite(url), {})
    if url.drivername in _POSTGRESQL:
        return _postgresql(url)
    raise ValueError("must start with sqlite:// or postgresql://")


def _sqlite(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.query.get("mode") == "memory":
        raise ValueError("must name a file: an in-memory database would forget its events")
    return url.set(drivername="sqlite+aiosqlite")


def _postgresql(url: URL) -> DatabaseUrl:
    if not url.database:
        raise ValueError("must name a database: postgresql://user:password@host/database")
    if unknown := set(url.query) - _POSTGRESQL_OPTIONS:
        raise ValueError(
            f"option {', '.join(sorted(unknown))} is not known; the URL takes sslmode, host and port, "
            "certificates are named by PGSSLROOTCERT, PGSSLCERT and PGSSLKEY"
        )
    connect_args: dict[str, Any] = {}
    mode = url.query.get("sslmode") or url.query.get("ssl")
    if mode is not None:
        if mode not in _SSL_MODES:
            raise ValueError(f"sslmode must be one of {', '.join(sorted(_SSL_MODES))}")
        connect_args["ssl"] = mode
    url = url.difference_update_query(["sslmode", "ssl"])
    return DatabaseUrl(url.set(drivername="postgresql+asyncpg"), connect_args)
