"""A damaged page of a SQLite file gives a 503; a damaged file is refused at start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.database.engine import Database
from app.errors import StartupRefused
from app.main import create_app
from tests.conftest import MakeSettings
from tests.database.support import PAGE, cut, post
from tests.events.support import open_ledger, record
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected

pytestmark = on_sqlite

MARK = "the page to damage"


def damage(path: Path) -> None:
    """Overwrite the header of the page that holds the mark."""
    contents = bytearray(path.read_bytes())
    start = contents.index(MARK.encode()) // PAGE * PAGE
    contents[start : start + 64] = b"\xff" * 64
    path.write_bytes(contents)


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
