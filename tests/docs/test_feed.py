"""What the page of the feed shows works, against a real process in local mode."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import ROOT
from tests.docs.curl import curl, curl_lines, request
from tests.docs.markdown import code_blocks
from tests.support.process import ServiceProcess

FEED = ROOT / "docs" / "feed.md"


@pytest.fixture
def api(service: ServiceProcess, token: str) -> Iterator[httpx.Client]:
    """A client of the service."""
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=70) as client:
        yield client


@pytest.fixture
def lines(service: ServiceProcess, token: str) -> list[list[str]]:
    """The arguments of each call of curl on the page."""
    return curl_lines(FEED, service, token)


def record(api: httpx.Client, *event_types: str, file_id: str | None = None) -> list[str]:
    """Record events, of one file or of a new one each; their ids."""
    return [
        api.post("/sync-events", json={"file_id": file_id or str(uuid4()), "event_type": kind})
        .raise_for_status()
        .json()["event_id"]
        for kind in event_types
    ]


def test_the_pages_of_the_feed_as_shown(lines: list[list[str]], api: httpx.Client) -> None:
    ids = record(api, "upload", "update", "delete")
    everything, latest = (curl(words).json() for words in lines[:2])
    assert [change["event_id"] for change in everything["changes"]] == ids
    assert (everything["from_position"], everything["to_position"], everything["has_more"]) == (1, 3, False)
    assert (latest["changes"], latest["head_position"]) == ([], 3)


def test_the_stream_as_shown(lines: list[list[str]], api: httpx.Client) -> None:
    assert len(lines) == 3
    with httpx.stream(**request(lines[2]), timeout=20) as stream:
        parts = stream.iter_lines()
        assert any(part.startswith("id:") for part in parts)  # it stands, from now on
        [event_id] = record(api, "upload")
        assert any(event_id in part for part in parts)


def test_effects_exactly_once(api: httpx.Client) -> None:
    names: dict[str, Callable[..., None]] = {}
    [code] = [block for block in code_blocks(FEED, "python") if "def apply(" in block]
    exec(code, names)  # noqa: S102 - the page's own words
    own = sqlite3.connect(":memory:")
    own.executescript("CREATE TABLE files_seen (file_id UNIQUE, event_type); CREATE TABLE progress (cursor);")
    own.execute("INSERT INTO progress VALUES (NULL)")
    own.commit()
    record(api, "upload", "upload", "upload", "upload")

    def next_page() -> Any:
        [cursor] = own.execute("SELECT cursor FROM progress").fetchone()
        return api.get("/changes", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()

    names["apply"](next_page(), own)
    broken = next_page()
    broken["changes"].append(broken["changes"][0])  # refused by the table in the middle of the transaction
    with pytest.raises(sqlite3.IntegrityError):
        names["apply"](broken, own)
    assert own.execute("SELECT count(*) FROM files_seen").fetchone() == (2,)
    names["apply"](next_page(), own)
    assert own.execute("SELECT count(*) FROM files_seen").fetchone() == (4,)
    assert next_page()["changes"] == []
    own.close()


def test_snapshot_then_tail(api: httpx.Client) -> None:
    file_id = str(uuid4())
    record(api, "upload", file_id=file_id)
    cursor = api.get("/changes", params={"cursor": "latest"}).json()["cursor"]
    record(api, "update", file_id=file_id)  # between the cursor and the snapshot

    def snapshot() -> Any:
        return api.get(f"/files/{file_id}").json()

    deadline = 400
    while snapshot()["last_position"] != 2 and (deadline := deadline - 1):
        api.get("/changes", params={"wait": 1, "cursor": "latest"})  # lets the sweep come by
    held = snapshot()["last_position"]
    record(api, "delete", file_id=file_id)
    changes = api.get("/changes", params={"cursor": cursor}).json()["changes"]
    assert (held, [change["position"] for change in changes]) == (2, [2, 3])
    assert [change["event_type"] for change in changes if change["position"] > held] == ["delete"]
