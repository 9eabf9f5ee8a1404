"""Statements that are compiled once a process of the tests, instead of once an engine.

A service compiles each statement once in its life. Hundreds of services in this process, with three engines each, would
take a quarter of the time of a test for it.
"""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite


class _Alike:
    """Dialects of one kind and version are one key of the cache."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class SharedPostgresql(_Alike, PGDialect_asyncpg):
    """PostgreSQL's."""

    supports_statement_cache = True


class SharedSqlite(_Alike, SQLiteDialect_aiosqlite):
    """SQLite's."""

    supports_statement_cache = True


def share_compiled_statements() -> None:
    """Let all engines of this process that are created from now on share what they compile."""
    cache: dict[Any, Any] = {}
    registry.register("postgresql.asyncpg", __name__, SharedPostgresql.__name__)
    registry.register("sqlite.aiosqlite", __name__, SharedSqlite.__name__)

    @event.listens_for(Engine, "engine_connect")
    def _share(connection: Connection) -> None:
        connection.execution_options(compiled_cache=cache)
