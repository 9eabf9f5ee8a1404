"""What other processes do to a SQLite file raises no alarm while it loses nothing; a cut or an older copy does."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count, cycle
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from app.database import sqlite_file
from app.database.engine import Database
from tests.database.support import PAGE
from tests.events.support import add_events, open_ledger, read_ledger, record
from tests.support.marks import on_sqlite

pytestmark = on_sqlite


def copy_of(path: Path) -> Callable[[], int]:
    """Copy the contents; calling the result writes them back into the same file."""
    contents = path.read_bytes()
    return lambda: path.write_bytes(contents)


def maintain(path: Path, *statements: str) -> int:
    """Run statements and a checkpoint as another process does; returns the size of the file in bytes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in (*statements, "PRAGMA wal_checkpoint(TRUNCATE)"):
            other.execute(statement)
    return path.stat().st_size


async def test_maintenance_by_others_raises_no_alarm_at_any_moment(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints, VACUUM and clean closes move the file's size and header during a comparison, and lose nothing."""
    grow = "CREATE TABLE IF NOT EXISTS padding AS SELECT zeroblob(1000000)"
    shrink = "DROP TABLE IF EXISTS padding"
    statements = cycle([grow, shrink, grow, shrink, shrink])
    sizes: list[int] = []

    def stat_amid_maintenance(of: str) -> os.stat_result | None:
        if of == str(path):
            sizes.append(maintain(path, next(statements), "VACUUM"))
        else:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("PRAGMA user_version = 1")  # a WAL for the next checkpoint to empty
        found = stat(of)
        sizes.append(maintain(path, next(statements), "VACUUM"))
        return found

    await open_ledger(database).append([record()])
    stat = sqlite_file._stat
    monkeypatch.setattr(sqlite_file, "_stat", stat_amid_maintenance)
    for _ in range(10):
        await open_ledger(database).append([record()])
    assert len(await read_ledger(database)) == 11
    assert len(sizes) == 3 * 2 * 10  # three times in a comparison, two comparisons in a write
    assert max(sizes) - min(sizes) > 900_000


def changed_at(path: Path) -> float:
    return path.stat().st_mtime


async def test_a_write_waits_for_a_checkpoint_that_has_yet_to_make_the_file_longer(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written the first page. The file was longer at the last comparison, before a VACUUM by others."""
    maintain(path, "CREATE TABLE padding AS SELECT zeroblob(1000000)")
    await add_events(database, (uuid4(), "upload"))
    size = maintain(path, "DROP TABLE padding", "VACUUM")
    maintain(path, "CREATE TABLE padding AS SELECT zeroblob(500000)")
    write_whole = copy_of(path)
    os.truncate(path, size)
    now = changed_at(path) + 0.9
    monkeypatch.setattr(sqlite_file, "time", SimpleNamespace(time=lambda: now))
    asyncio.get_running_loop().call_later(3 * sqlite_file.PAUSE_SECONDS, write_whole)
    await add_events(database, (uuid4(), "upload"))
    assert len(await read_ledger(database)) == 2


async def test_a_file_that_is_cut_after_a_checkpoint_by_others_takes_no_event(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known to be cut once it has not changed for a second."""
    await add_events(database, (uuid4(), "upload"))
    size = maintain(path, "PRAGMA user_version = 1")
    os.truncate(path, size - PAGE)
    times = count(changed_at(path), 0.3)
    monkeypatch.setattr(sqlite_file, "time", SimpleNamespace(time=times.__next__))
    with pytest.raises(Exception, match="emptied or cut short"):
        await add_events(database, (uuid4(), "upload"))
    assert next(times) > changed_at(path) + 1


async def test_an_older_copy_written_into_the_file_is_noticed(database: Database, path: Path) -> None:
    """As `cp backup.db sync.db` does."""
    await add_events(database, (uuid4(), "upload"))
    write_older = copy_of(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 1")
        other.execute("PRAGMA wal_checkpoint")
    await add_events(database, (uuid4(), "upload"))
    write_older()
    with pytest.raises(Exception, match="overwritten by an older copy"):
        await add_events(database, (uuid4(), "upload"))
