"""The WAL of SQLite becomes small again after a long transaction of another process."""

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from app.database import opening
from app.database.connection import WAL_LIMIT_BYTES
from app.database.engine import Database
from app.database.metrics import DatabaseMetrics
from app.database.opening import WalTruncation
from tests.conftest import MakeSettings
from tests.events.support import add_events, open_ledger, record

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_a_wal_that_a_reader_held_is_emptied_once_it_ends(
    database: Database, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "WAL_WARN_BYTES", WAL_LIMIT_BYTES)
    metrics = DatabaseMetrics()
    task, ledger = WalTruncation(database, metrics), open_ledger(database)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM ledger_head").fetchall()
        padding = "x" * 16_000
        while database.wal_path.stat().st_size <= WAL_LIMIT_BYTES:
            await ledger.append([record(metadata=f'{{"padding":"{padding}"}}') for _ in range(400)])
        for _ in range(2):
            await task.run_once()
        assert caplog.text.count("cannot be emptied") == 1
        reader.execute("ROLLBACK")
    assert database.wal_path.stat().st_size > WAL_LIMIT_BYTES
    await task.run_once()
    assert database.wal_path.stat().st_size == 0
    assert metrics.wal_bytes._value.get() == 0
    await add_events(database, (uuid4(), "upload"))


async def test_a_wal_beside_the_target_of_a_symbolic_link_is_found(
    make_settings: MakeSettings, sqlite_url: str, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(sqlite_url.removeprefix("sqlite:///"))
    database = Database(make_settings(database_url=f"sqlite:///{link}"))
    await add_events(database, (uuid4(), "upload"))
    assert database.wal_path.stat().st_size > 0
    await database.close()
