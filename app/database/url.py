"""Reads `DATABASE_URL` in every form that people write it and turns it into what the async drivers take."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_SQLITE = frozenset({"sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"})
_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"})
_POSTGRESQL_OPTIONS = frozenset({"sslmode", "ssl", "host", "port"})
_SQLITE_OPTIONS = frozenset({"check_same_thread"})  # often seen with FastAPI; the async driver needs no such thing
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
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise ValueError("must name a file by its path: an in-memory database would forget its events")
    if url.host or "\0" in url.database:
        raise ValueError("must have three slashes and a path (sqlite:///./sync.db), or four before an absolute one")
    if set(url.query) - _SQLITE_OPTIONS:
        raise ValueError("has an option that is not known; for SQLite the URL takes none")
    return url.set(drivername="sqlite+aiosqlite", query={})


def _postgresql(url: URL) -> DatabaseUrl:
    if not url.database:
        raise ValueError("must name a database: postgresql://user:password@host/database")
    if set(url.query) - _POSTGRESQL_OPTIONS:
        # It is not named: what stands there may be the rest of a password that has a question mark.
        raise ValueError(
            "has an option that is not known; the URL takes sslmode, host and port, "
            "certificates are named by PGSSLROOTCERT, PGSSLCERT and PGSSLKEY"
        )
    if not all(_is_port(port) for port in (url.port, *url.normalized_query.get("port", ())) if port is not None):
        raise ValueError("must have a port from 1 to 65535")
    connect_args: dict[str, Any] = {}
    mode = url.query.get("sslmode") or url.query.get("ssl")
    if mode is not None:
        if mode not in _SSL_MODES:
            raise ValueError(f"sslmode must be one of {', '.join(sorted(_SSL_MODES))}")
        connect_args["ssl"] = mode
    url = url.difference_update_query(["sslmode", "ssl"])
    return DatabaseUrl(url.set(drivername="postgresql+asyncpg"), connect_args)


def _is_port(text: int | str) -> bool:
    return str(text).isdecimal() and 1 <= int(text) <= 65_535
