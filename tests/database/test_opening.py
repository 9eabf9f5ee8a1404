"""A start waits for PostgreSQL; the WAL of SQLite becomes small again after a long transaction of another process."""

import asyncio
import socket
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.database import watch
from app.database.connection import WAL_LIMIT_BYTES
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable, may_come_up
from app.database.opening import START_PAUSE_SECONDS, prepare_database
from app.database.watch import WalTruncation
from app.metrics import DatabaseMetrics
from tests.conftest import MakeSettings
from tests.events.support import add_events, open_ledger, record
from tests.support.marks import on_sqlite
from tests.support.ports import ReservedPort
from tests.support.postgres import PostgresServer


def _refusal(error: asyncpg.PostgresError) -> DBAPIError:
    return DBAPIError(None, None, error)


@on_sqlite
async def test_a_wal_that_a_reader_held_is_emptied_once_it_ends(
    database: Database, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "WAL_WARN_BYTES", WAL_LIMIT_BYTES)
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


@on_sqlite
async def test_a_wal_beside_the_target_of_a_symbolic_link_is_found(
    make_settings: MakeSettings, sqlite_url: str, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(sqlite_url.removeprefix("sqlite:///"))
    database = Database(make_settings(database_url=f"sqlite:///{link}"))
    await add_events(database, (uuid4(), "upload"))
    assert database.wal_path.stat().st_size > 0
    await database.close()


@pytest.fixture
def password_url(postgres: PostgresServer) -> Iterator[str]:
    """The server's own database for a role whose password is `right`."""
    postgres.sql("CREATE ROLE with_password LOGIN PASSWORD 'right'")
    postgres.demand_password("with_password")
    yield postgres.url("postgres").replace("postgres@", "with_password:{}@")
    postgres.sql("DROP ROLE with_password")


async def test_a_wrong_password_and_a_missing_database_end_the_start_at_once(
    postgres: PostgresServer, password_url: str, sqlite_url: str
) -> None:
    urls = {
        password_url.format("wrong"): "password authentication failed",
        postgres.url("missing"): 'database "missing" does not exist',
    }
    for url, reason in urls.items():
        async with asyncio.timeout(5):
            with pytest.raises(DatabaseUnavailable) as refused:
                await prepare_database(Settings(_env_file=None, database_url=url))
        assert reason in str(refused.value.__cause__)


@pytest.mark.slow
async def test_a_database_that_may_be_starting_is_waited_for_and_no_longer_than_the_setting_says(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.opening.time", SimpleNamespace(monotonic=count().__next__))
    port = ReservedPort()
    urls = {f"postgresql://127.0.0.1:{port.number}/db": "Connect call failed", "postgresql://db.invalid/db": "gaierror"}
    for url, reason in urls.items():
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await prepare_database(Settings(_env_file=None, database_url=url, database_start_timeout=1.5))
        assert time.monotonic() - started >= START_PAUSE_SECONDS
        assert reason in caplog.text
        with pytest.raises(DatabaseUnavailable):
            await prepare_database(Settings(_env_file=None, database_url=url, database_start_timeout=0))


@pytest.mark.parametrize(
    ("error", "is_waited_for"),
    [
        (ConnectionRefusedError(), True),
        (socket.gaierror(), True),
        (OSError("Multiple exceptions: refused, refused"), True),
        (TimeoutError(), True),
        (ssl.SSLCertVerificationError(), False),
        (PermissionError(), False),
        (_refusal(asyncpg.CannotConnectNowError("the database system is starting up")), True),
        (_refusal(asyncpg.InvalidPasswordError("no")), False),
        (_refusal(asyncpg.InvalidCatalogNameError("no")), False),
        (None, False),
    ],
)
def test_which_failures_a_start_waits_for(error: Exception | None, is_waited_for: bool) -> None:
    assert may_come_up(error) is is_waited_for
