"""A SQLite file that is removed, replaced, emptied or cut gives a 503, never a 201 that does not last.

Normal use raises no alarm, and keeps no lock.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event

from app.database.engine import Database
from app.main import create_app
from tests.conftest import MakeSettings
from tests.database.support import cut, post
from tests.events.support import add_events, open_ledger, read_ledger, record
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.waiting import get_once_connected

pytestmark = on_sqlite


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


def remove_wal(path: Path) -> None:
    wal(path).unlink()


def replace_wal(path: Path) -> None:
    contents = wal(path).read_bytes()
    wal(path).unlink()
    wal(path).write_bytes(contents)


def empty_wal(path: Path) -> None:
    empty(wal(path))


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


async def test_the_wal_that_the_last_connection_takes_away_is_not_lost(database: Database) -> None:
    def compare(_connection: object, _record: object) -> None:
        assert database._file
        database._file.compare()  # as another task may, before the thread of the connection has closed it

    event.listen(database.engine.sync_engine, "close", compare)
    for _ in range(2):
        await add_events(database, (uuid4(), "upload"))
        await database.engine.dispose()
        assert not database.wal_path.exists()
    assert len(await read_ledger(database)) == 2


async def test_a_new_file_raises_no_alarm(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(database_url=f"sqlite:///{tmp_path / 'new.db'}")
    async with serve_in_process(create_app(settings)) as client:
        assert (await get_once_connected(client)).json()["status"] == "healthy"


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
