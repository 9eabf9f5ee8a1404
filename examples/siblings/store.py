"""The files and the names of their blocks, in a SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, HTTPException, Request

from siblings.tokens import Caller

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    file_id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT,
    position INTEGER, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    file_id TEXT NOT NULL REFERENCES files ON DELETE CASCADE, chunk_index INTEGER NOT NULL, storage_path TEXT NOT NULL,
    created_at TEXT NOT NULL, PRIMARY KEY (file_id, chunk_index));
"""
NO_FILE = "There is no such file."


class Store:
    """The SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self.transaction() as connection:
            connection.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements are committed together."""
        with closing(sqlite3.connect(self._path)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            with connection:
                yield connection

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query."""
        with self.transaction() as connection:
            return [dict(row) for row in connection.execute(statement, values)]

    def own_file(self, file_id: UUID, caller: Caller) -> dict[str, Any]:
        """A file of the caller.

        Raises:
            HTTPException: 404, also for files of other users.
        """
        found = self.rows("SELECT * FROM files WHERE file_id = ? AND owner = ?", str(file_id), caller.subject)
        if not found:
            raise HTTPException(404, NO_FILE)
        return found[0]

    def chunks(self, file_id: object) -> list[dict[str, Any]]:
        """The blocks of a file, in order."""
        return self.rows(
            "SELECT chunk_index, storage_path, created_at FROM chunks WHERE file_id = ? ORDER BY chunk_index",
            str(file_id),
        )


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


CurrentStore = Annotated[Store, Depends(_store)]
