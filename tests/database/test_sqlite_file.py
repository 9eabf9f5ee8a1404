"""A SQLite file that is removed, replaced, emptied, cut or damaged gives a 503, never a 201 that does not last."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event

from app.database import sqlite_file
from app.database.engine import Database
from app.errors import StartupRefused
from app.main import create_app
from tests.conftest import MakeSettings
from tests.events.support import add_events, open_ledger, read_ledger, record
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected

pytestmark = on_sqlite

PAGE = 4096
MARK = "the page to damage"


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


def wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def remove(path: Path) -> None:
    path.unlink()


def remove_all(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


def replace(path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    copy.rename(path)


def empty(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(0)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // PAGE * PAGE)


def remove_wal(path: Path) -> None:
    wal(path).unlink()


def replace_wal(path: Path) -> None:
    contents = wal(path).read_bytes()
    wal(path).unlink()
    wal(path).write_bytes(contents)


def empty_wal(path: Path) -> None:
    empty(wal(path))


def copy_of(path: Path) -> Callable[[], int]:
    """Copy the contents; calling the result writes them back into the same file."""
    contents = path.read_bytes()
    return lambda: path.write_bytes(contents)


def damage(path: Path) -> None:
    """Overwrite the header of the page that holds the mark."""
    contents = bytearray(path.read_bytes())
    start = contents.index(MARK.encode()) // PAGE * PAGE
    contents[start : start + 64] = b"\xff" * 64
    path.write_bytes(contents)


def maintain(path: Path, *statements: str) -> int:
    """Run statements and a checkpoint as another process does; returns the size of the file in bytes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in (*statements, "PRAGMA wal_checkpoint(TRUNCATE)"):
            other.execute(statement)
    return path.stat().st_size


async def post(client: httpx.AsyncClient, **metadata: str) -> httpx.Response:
    return await client.post(
        "/sync-events", json={"file_id": str(uuid4()), "event_type": "upload", "metadata": metadata}
    )


async def test_the_wal_that_the_last_connection_takes_away_is_not_lost(database: Database, path: Path) -> None:
    def compare(_connection: object, _record: object) -> None:
        assert database._file
        database._file.compare()  # as another task may, before the thread of the connection has closed it

    event.listen(database.engine.sync_engine, "close", compare)
    for _ in range(2):
        await add_events(database, (uuid4(), "upload"))
        await database.engine.dispose()
        assert not wal(path).exists()
    assert len(await read_ledger(database)) == 2


@pytest.mark.parametrize(
    ("sabotage", "reason"),
    [
        (remove, "no longer at its path"),
        (remove_all, "no longer at its path"),
        (replace, "Another file was put"),
        (empty, "emptied or cut short"),
        (cut, "emptied or cut short"),
        (remove_wal, "-wal file of the database"),
        (replace_wal, "-wal file of the database"),
    ],
)
async def test_a_file_that_is_lost_is_noticed_before_the_next_201(
    client: httpx.AsyncClient, path: Path, sabotage: Callable[[Path], None], reason: str
) -> None:
    assert (await post(client)).status_code == 201
    assert (await get_once_connected(client)).json()["status"] == "healthy"
    sabotage(path)
    for answer in [await post(client), await post(client), await client.get("/sync-events")]:
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "urn:sync-service:problem:database-damaged"
        assert reason in answer.json()["detail"]
    health = await get_once_connected(client)
    assert (health.status_code, health.json()["status"], health.json()["writes"]) == (200, "degraded", "refused")
    assert reason in health.json()["writes_refused_reason"]
    assert (await client.get("/health/ready")).json()["checks"]["database"] == "failed"


async def test_a_wal_that_is_emptied_gives_no_201(client: httpx.AsyncClient, path: Path) -> None:
    """SQLite meets what is missing, or the comparison does: it depends on what the connection has in its cache."""
    assert (await post(client)).status_code == 201
    empty_wal(path)
    assert [(await post(client)).status_code for _ in range(3)] == [503, 503, 503]
    health = (await get_once_connected(client)).json()
    assert health["writes"] == "refused", health
    assert (await client.get("/health/ready")).json()["checks"]["database"] == "failed"


async def test_a_file_that_is_lost_under_a_commit_gives_no_201(database: Database, path: Path) -> None:
    """The comparison after the commit finds what the one before it could not."""
    await add_events(database, (uuid4(), "upload"))
    ledger = open_ledger(database)

    async def sabotage() -> None:
        async with database.append():
            remove(path)

    with pytest.raises(Exception, match="no longer at its path"):
        await sabotage()
    with pytest.raises(Exception, match="no longer at its path"):
        await ledger.append([record()])


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


async def test_a_symbolic_link_that_leads_elsewhere_is_noticed(
    make_settings: MakeSettings, path: Path, tmp_path: Path
) -> None:
    link, other = tmp_path / "link.db", tmp_path / "other.db"
    link.symlink_to(path)
    shutil.copy(path, other)
    database = Database(make_settings(database_url=f"sqlite:///{link}"))
    await add_events(database, (uuid4(), "upload"))
    link.unlink()
    link.symlink_to(other)
    with pytest.raises(Exception, match="Another file was put"):
        await add_events(database, (uuid4(), "upload"))
    await database.close()


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


def look_after(path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the clock of the comparisons to `seconds` after the last write into the file."""
    now = path.stat().st_mtime + seconds
    monkeypatch.setattr(sqlite_file, "time", SimpleNamespace(time=lambda: now))


async def test_a_checkpoint_that_has_yet_to_make_the_file_longer_raises_no_alarm(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written the first page. The file was longer at the last comparison, before a VACUUM by others."""
    assert database._file
    maintain(path, "CREATE TABLE padding AS SELECT zeroblob(1000000)")
    await add_events(database, (uuid4(), "upload"))
    size = maintain(path, "DROP TABLE padding", "VACUUM")
    maintain(path, "CREATE TABLE padding AS SELECT zeroblob(500000)")
    write_whole = copy_of(path)
    os.truncate(path, size)
    for seconds in (0, 0.3, 0.6, 0.9):
        look_after(path, seconds, monkeypatch)
        database._file.compare()
    write_whole()
    await add_events(database, (uuid4(), "upload"))
    assert len(await read_ledger(database)) == 2


async def test_a_file_that_is_cut_after_a_checkpoint_by_others_is_noticed_once_the_file_rests(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database._file
    await add_events(database, (uuid4(), "upload"))
    size = maintain(path, "PRAGMA user_version = 1")
    os.truncate(path, size - PAGE)
    look_after(path, 0.9, monkeypatch)
    database._file.compare()
    look_after(path, 1.1, monkeypatch)
    with pytest.raises(Exception, match="emptied or cut short"):
        database._file.compare()


async def test_a_new_file_raises_no_alarm(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(database_url=f"sqlite:///{tmp_path / 'new.db'}")
    async with serve_in_process(create_app(settings)) as client:
        assert (await get_once_connected(client)).json()["status"] == "healthy"


@pytest.fixture
async def _damaged(database: Database, path: Path) -> None:
    """A database of which one page of events is overwritten."""
    for number in range(40):
        metadata = f'{{"mark":"{MARK if number == 20 else "x" * 900}"}}'
        await open_ledger(database).append([record(metadata=metadata)])
    await database.close()
    damage(path)


@pytest.mark.usefixtures("_damaged")
async def test_a_damaged_page_is_a_503_and_an_error_line(
    make_settings: MakeSettings, tokens: TokenFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve_in_process(create_app(make_settings())) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        answer = await client.get("/sync-events", params={"limit": 100})
        assert "the database is damaged" in caplog.text
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:sync-service:problem:database-damaged")
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await post(client)).status_code == 503
        health = (await get_once_connected(client)).json()
        assert health["status"] == "degraded"
        assert "damaged" in health["writes_refused_reason"]
        assert (await client.get("/health/ready")).status_code == 503


def no_database(path: Path) -> None:
    path.write_bytes(b"These are the minutes of the meeting.\n" * 1000)


@pytest.mark.parametrize("sabotage", [cut, no_database])
async def test_a_damaged_file_is_refused_at_start(
    make_settings: MakeSettings, path: Path, sabotage: Callable[[Path], None]
) -> None:
    sabotage(path)
    with pytest.raises(StartupRefused, match=r"DATABASE_URL: .*(malformed|not a database)"):
        async with serve_in_process(create_app(make_settings())):
            pass


def test_the_refusal_is_one_line_and_status_1(begin_service: Callable[..., ServiceProcess], path: Path) -> None:
    no_database(path)
    service = begin_service()
    assert service.wait() == 1
    assert "Traceback" not in service.output()
    [line] = [line for line in service.output().splitlines() if "DATABASE_URL: " in line]
    assert line.endswith("file is not a database  [uvicorn.error]")


async def test_a_connection_that_is_closed_with_unread_rows_keeps_no_lock(make_settings: MakeSettings) -> None:
    database = Database(make_settings())
    await add_events(database, (uuid4(), "upload"), (uuid4(), "upload"))
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute("BEGIN IMMEDIATE")
        cursor = await driver.execute("UPDATE sync_events SET metadata = metadata RETURNING position")
        await connection.invalidate()  # as after a cancelled statement
    await add_events(database, (uuid4(), "upload"))
    del cursor
    await database.close()
