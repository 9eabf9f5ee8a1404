"""The change feed in a browser: the script of docs/feed.md follows it from the origin of /docs."""

import pytest
from playwright.async_api import Page

from tests.conftest import ROOT
from tests.docs.markdown import code_blocks
from tests.support.process import ServiceProcess

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]
FILE = "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"


async def test_events_are_read_as_they_are_posted(page: Page, service: ServiceProcess, token: str) -> None:
    [script] = code_blocks(ROOT / "docs" / "feed.md", "javascript")
    headers = {"Authorization": f"Bearer {token}"}

    async def post(event_type: str) -> None:
        event = {"file_id": FILE, "event_type": event_type, "metadata": {"path": "ü\n€\u2028id: evil.txt"}}
        assert (await page.request.post("/sync-events", data=event, headers=headers)).status == 201

    await post("upload")
    await page.goto("/docs")
    cursor = (await (await page.request.get("/changes", headers=headers)).json())["cursor"]
    start = "window.seen = []; follow('', token, (change) => seen.push(change), cursor);"
    await page.evaluate(f"([token, cursor]) => {{ {script} {start} }}", [token, cursor])
    for number, event_type in enumerate(["update", "delete", "upload"], start=1):
        await post(event_type)
        await page.wait_for_function("number => window.seen.length === number", arg=number)
    seen = await page.evaluate("window.seen")
    assert [change["position"] for change in seen] == [2, 3, 4]
    assert [change["event_type"] for change in seen] == ["update", "delete", "upload"]
    assert {change["metadata"]["path"] for change in seen} == {"ü\n€\u2028id: evil.txt"}
