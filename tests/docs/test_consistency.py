"""The example of the inventory contract keeps to the contract, and every kind, state and route is on the page."""

import sqlite3
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI

from app.consistency.models import CheckState, FindingState, Kind, Verdict
from app.consistency.sources.contract import _read_item, _read_page
from app.consistency.sources.request import read_object
from app.main import create_app
from tests.conftest import ROOT, MakeSettings
from tests.docs.markdown import code_blocks

PAGE = ROOT / "docs" / "consistency.md"


async def test_the_example_keeps_to_the_contract() -> None:
    [example] = code_blocks(PAGE, "python")
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.row_factory = sqlite3.Row
    database.execute("CREATE TABLE files (file_id TEXT PRIMARY KEY, size INTEGER, sha256 TEXT)")
    files = sorted(str(uuid4()) for _ in range(5))
    database.executemany("INSERT INTO files VALUES (?, ?, ?)", [(one, 2**40, "ab" * 32) for one in files])
    names: dict[str, Any] = {"database": database}
    exec(example, names)  # noqa: S102 - our own page
    app = FastAPI()
    app.include_router(names["router"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://owner") as client:
        first = _read_page((await client.get("/inventory?limit=3")).content, None)
        rest = _read_page((await client.get(f"/inventory?limit=3&after={first.next}")).content, first.next)
        assert [str(file_id) for file_id, _ in (*first.items, *rest.items)] == files
        assert (first.next, rest.next, first.total) == (UUID(files[2]), None, 5)
        file_id, item = _read_item(read_object((await client.get(f"/inventory/{files[0]}")).content))
        assert (str(file_id), item["size"], item["sha256"]) == (files[0], 2**40, "ab" * 32)
        assert (await client.get(f"/inventory/{uuid4()}")).status_code == 404
    database.close()


def test_every_kind_state_and_verdict_is_explained() -> None:
    text = PAGE.read_text()
    states = [one for one in CheckState if one is not CheckState.RUNNING]
    assert [one for one in (*Kind, *FindingState, *states, *Verdict) if f"`{one}`" not in text] == []


def test_every_route_is_listed(make_settings: MakeSettings) -> None:
    text = PAGE.read_text()
    paths = [path for path in create_app(make_settings()).openapi()["paths"] if "consistency" in path]
    assert [path for path in paths if path not in text] == []
