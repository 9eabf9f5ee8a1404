"""What the pages show of the client works, against a real process in local mode."""

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.outbound.secret import new_secret, signed_headers
from sync_client import Change, Invalid, NotFound, errors
from sync_client.commands.access import TOKEN_VARIABLE, URL_VARIABLE
from tests.conftest import ROOT
from tests.docs.conftest import AUTHORITY
from tests.docs.markdown import README, code_blocks, rows, section
from tests.support.process import ServiceProcess
from tests.support.waiting import until

CLIENT = ROOT / "docs" / "client.md"


@pytest.fixture
def shown(service: ServiceProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path, str], Any]:
    """The function of this name on a page, which talks to the service."""
    monkeypatch.chdir(tmp_path)

    def find(page: Path, name: str) -> Any:
        [code] = [block for block in code_blocks(page, "python") if f"def {name}(" in block]
        names: dict[str, Any] = {}
        exec(code.replace(f"http://{AUTHORITY}", service.url), names)  # noqa: S102 - the page's own words
        return names[name]

    return find


def test_all_blocks_are_tried() -> None:
    names = ("record", "read", "operate", "check", "follow", "project", "hook", "hook")
    assert all(f"def {name}(" in block for name, block in zip(names, code_blocks(CLIENT, "python"), strict=True))


@pytest.mark.parametrize("page", [README, CLIENT], ids=lambda page: page.name)
async def test_a_follower_goes_on_where_it_was(page: Path, shown: Callable[[Path, str], Any], token: str) -> None:
    files = [str(uuid4()) for _ in range(3)]
    for file_id in files:
        if page is README:
            await shown(README, "record")(file_id, token)
        else:
            await shown(CLIENT, "record")([file_id], token)
    changes: list[Change] = []
    for count in (3, 4):
        following = asyncio.create_task(shown(page, "follow")(changes.append, token))
        await until(lambda count=count: len(changes) >= count)  # type: ignore[misc]  # no type for the default
        # What is done is saved with the page, before the follower waits for the next one.
        await until(lambda: _is_saved(changes[-1]))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await shown(CLIENT, "record")([str(uuid4())], token)
    assert [change.position for change in changes] == [1, 2, 3, 4]
    assert [str(change.file_id) for change in changes[:3]] == files


def _is_saved(change: Change) -> bool:
    path = Path("indexer.cursor")
    return path.exists() and path.read_text().strip() == change.cursor


async def test_what_is_recorded_is_read(shown: Callable[[Path, str], Any], token: str) -> None:
    files = [str(uuid4()) for _ in range(3)]
    ids: list[UUID] = await shown(CLIENT, "record")(files, token)
    event, history = await shown(CLIENT, "read")(ids[1], token)
    assert (str(event.file_id), [each.event_id for each in history]) == (files[1], [ids[1]])


async def test_effect_and_cursor_are_one(shown: Callable[[Path, str], Any], token: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript("CREATE TABLE seen (file_id UNIQUE, event_type); CREATE TABLE progress (cursor);")
    connection.execute("INSERT INTO progress VALUES (NULL)")
    files = [str(uuid4()) for _ in range(6)]
    for begin in (0, 3):
        await shown(CLIENT, "record")(files[begin : begin + 3], token)
        projecting = asyncio.create_task(shown(CLIENT, "project")(connection, token))
        await until(lambda begin=begin: _count(connection) == begin + 3)  # type: ignore[misc]
        projecting.cancel()
        await asyncio.gather(projecting, return_exceptions=True)
    assert [row[0] for row in connection.execute("SELECT file_id FROM seen ORDER BY rowid")] == files
    connection.close()


async def test_a_subscription_is_made_and_tested(
    shown: Callable[[Path, str], Any], token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://127.0.0.1:8080/"  # private addresses are not sent to
    with pytest.raises(Invalid, match="address"):
        await asyncio.to_thread(shown(CLIENT, "operate"), url, token)
    assert await asyncio.to_thread(shown(CLIENT, "operate"), "https://subscriber.invalid/", token) == []
    assert re.search(r"whsec_\S+ \w+ healthy", capsys.readouterr().out)


async def test_a_source_is_checked(shown: Callable[[Path, str], Any], token: str) -> None:
    with pytest.raises(NotFound, match="source"):
        await asyncio.to_thread(shown(CLIENT, "check"), str(uuid4()), token)


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_a_web_framework_verifies_what_is_signed(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip(framework)
    [code] = [block for block in code_blocks(CLIENT, "python") if f"from {framework} import" in block]
    secret = new_secret()
    names: dict[str, Any] = {"__name__": "__main__"}  # Flask looks for the file of the module
    monkeypatch.setenv("SYNC_WEBHOOK_SECRET", secret)
    exec(code, names)  # noqa: S102 - the page's own words
    body = json.dumps({"specversion": "1.0", "id": "a", "type": "sync.ping", "source": "s", "data": {}}).encode()
    headers = signed_headers("a", datetime.now(UTC), body, [secret])
    post = partial(_post_fastapi if framework == "fastapi" else _post_flask, names["app"])
    assert post("/hook", content=body, headers=headers).status_code == 204
    assert post("/hook", content=body + b" ", headers=headers).status_code == 401
    assert post("/hook", content=body).status_code == 401


def _post_fastapi(app: Any, path: str, **request: Any) -> httpx.Response:
    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://receiver") as client:
            return await client.post(path, **request)

    return asyncio.run(post())


def _post_flask(app: Any, path: str, *, content: bytes, headers: dict[str, str] | None = None) -> Any:
    return app.test_client().post(path, data=content, headers=headers or {})


def _count(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM seen").fetchone()[0]
    return count


def test_every_error_is_in_the_table() -> None:
    listed = {name.strip(" `") for cells in rows(section(CLIENT, "Errors")) for name in cells[0].split(",")}
    kinds = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.SyncError)
    }
    assert listed == kinds - {"SyncError"}


def test_the_variable_of_the_token_is_named() -> None:
    assert f"{URL_VARIABLE}=" in CLIENT.read_text()
    assert f"{TOKEN_VARIABLE}=" in CLIENT.read_text()
