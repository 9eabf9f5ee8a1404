"""Fresh databases, and the check that the ledger contains every confirmed event."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

import asyncpg

from benchmarks.model import Violation

LEDGER = "sync_events"
EXTENT = "SELECT count(*), coalesce(max(position), 0) FROM sync_events"
CHECKED_AT_ONCE = 50_000

Result = TypeVar("Result")


class Store(Protocol):
    """A database under load."""

    url: str

    def summary(self, table: str) -> tuple[int, int]:
        """How many rows `table` has, and of how many files, in one snapshot."""

    def extent(self) -> tuple[int, int]:
        """How many events the ledger has and the highest position, in one snapshot: requests may be under way."""

    def count_ids(self, table: str, ids: Sequence[UUID]) -> int:
        """How many of the `ids` are in `table`."""


class PostgresStore:
    """A database of the run's PostgreSQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def summary(self, table: str) -> tuple[int, int]:
        """See `Store`."""
        rows, files = self.row(f"SELECT count(*), count(DISTINCT file_id) FROM {table}")  # noqa: S608 - our own names
        return rows, files

    def extent(self) -> tuple[int, int]:
        """See `Store`."""
        rows, last = self.row(EXTENT)
        return rows, last

    def count_ids(self, table: str, ids: Sequence[UUID]) -> int:
        """See `Store`."""
        [found] = self.row(f"SELECT count(*) FROM {table} WHERE id = ANY ($1)", ids)  # noqa: S608
        return int(found)

    def wal_bytes(self) -> int:
        """WAL that the server has written so far."""
        [position] = self.row("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return int(position)

    def table_bytes(self, *tables: str) -> int:
        """Size on disk of the tables with their indexes."""
        [size] = self.row("SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest($1::text[]) AS name", tables)
        return int(size)

    def row(self, query: str, *arguments: Any) -> tuple[Any, ...]:
        """The first row of `query`."""
        [row, *_] = self.rows(query, *arguments)
        return row

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows of `query`."""

        async def fetch(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

        return asyncio.run(self._connected(fetch))

    def execute(self, *statements: str) -> None:
        """Run `statements`, each in its own transaction."""

        async def run(connection: asyncpg.Connection) -> None:
            for statement in statements:
                await connection.execute(statement)

        asyncio.run(self._connected(run))

    async def _connected(self, use: Callable[[Any], Awaitable[Result]]) -> Result:
        connection = await asyncpg.connect(self.url)
        try:
            return await use(connection)
        finally:
            await connection.close()


class SqliteStore:
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def summary(self, table: str) -> tuple[int, int]:
        """See `Store`."""
        rows, files = self._row(f"SELECT count(*), count(DISTINCT file_id) FROM {table}")  # noqa: S608
        return rows, files

    def extent(self) -> tuple[int, int]:
        """See `Store`."""
        rows, last = self._row(EXTENT)
        return rows, last

    def count_ids(self, table: str, ids: Sequence[UUID]) -> int:
        """See `Store`."""
        wanted = json.dumps([one.hex for one in ids])
        [found] = self._row(f"SELECT count(*) FROM {table} WHERE id IN (SELECT value FROM json_each(?))", wanted)  # noqa: S608
        return int(found)

    def _row(self, query: str, *arguments: str) -> tuple[Any, ...]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            row: tuple[Any, ...] = connection.execute(query, arguments).fetchone()
            return row


def check_answered(store: Store, table: str, ids: Sequence[UUID], *, rows: range) -> None:
    """Check that every confirmed event is stored once, and nothing else.

    `rows` is the allowed number of rows: at least one for each response so far, at most those and the requests that
    were under way when the load ended.

    Raises:
        Violation: naming the missing or additional events.
    """
    if len(set(ids)) != len(ids):
        raise Violation(f"{table}: two responses had the same id")
    missing = sum(len(part) - store.count_ids(table, part) for part in _parts(ids))
    if missing:
        raise Violation(f"{table}: {missing} of {len(ids)} confirmed events are not stored")
    stored, files = store.summary(table)
    if stored not in rows:
        raise Violation(f"{table}: {stored} events are stored, expected {rows.start} to {rows.stop - 1}")
    if files != stored:
        raise Violation(f"{table}: {stored - files} events are stored more than once")


def check_positions(store: Store) -> None:
    """Check that the positions are 1 to the number of events.

    Raises:
        Violation: when there is a gap.
    """
    stored, last = store.extent()
    if stored != last:
        raise Violation(f"the ledger has {stored} events and its last position is {last}")


def _parts(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[start : start + CHECKED_AT_ONCE] for start in range(0, len(ids), CHECKED_AT_ONCE))
