"""The change feed in a browser: the script of docs/feed.md follows it from the service's origin."""

import pytest
from playwright.async_api import Page, Route

from tests.conftest import ROOT
from tests.docs.markdown import code_blocks
from tests.support.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
FILE = "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"


async def test_events_are_read_as_they_are_posted(page: Page, token: str) -> None:
    [script] = code_blocks(ROOT / "docs" / "feed.md", "javascript")
    headers = {"Authorization": f"Bearer {token}"}

    async def post(event_type: str) -> None:
        event = {"file_id": FILE, "event_type": event_type, "metadata": {"path": "ü\n€\u2028id: evil.txt"}}
        assert (await page.request.post("/sync-events", data=event, headers=headers)).status == 201

    await post("upload")
    await page.goto("/health")
    head = await (await page.request.get("/changes?cursor=latest", headers=headers)).json()
    start = "window.seen = []; follow('', token, (change) => seen.push(change), cursor);"
    await page.evaluate(f"([token, cursor]) => {{ {script} {start} }}", [token, head["cursor"]])
    for number, event_type in enumerate(["update", "delete", "upload"], start=1):
        await post(event_type)
        await page.wait_for_function("number => window.seen.length === number", arg=number)
    seen = await page.evaluate("window.seen")
    assert [change["position"] - head["head_position"] for change in seen] == [1, 2, 3]
    assert [change["event_type"] for change in seen] == ["update", "delete", "upload"]
    assert {change["metadata"]["path"] for change in seen} == {"ü\n€\u2028id: evil.txt"}


async def test_a_failure_to_handle_a_change_closes_the_stream(page: Page, token: str) -> None:
    [script] = code_blocks(ROOT / "docs" / "feed.md", "javascript")
    headers = {"Authorization": f"Bearer {token}"}
    event = {"file_id": FILE, "event_type": "upload"}
    await page.goto("/health")
    start = "follow('', token, () => { throw new Error('full'); }).catch((error) => { window.failure = `${error}`; });"
    await page.evaluate(f"(token) => {{ {script} {start} }}", token)

    async def follows(number: int) -> bool:
        sample = f'sync_changes_followers{{kind="stream"}} {number}.0'
        return sample in await (await page.request.get("/metrics")).text()

    await until(lambda: follows(1))
    assert (await page.request.post("/sync-events", data=event, headers=headers)).status == 201
    await page.wait_for_function("() => window.failure")
    assert await page.evaluate("window.failure") == "Error: a change could not be handled"
    await until(lambda: follows(0))


async def test_the_stream_says_how_long_to_wait_before_the_next(page: Page, token: str) -> None:
    [script] = code_blocks(ROOT / "docs" / "feed.md", "javascript")
    cursors: list[str | None] = []

    async def answer(route: Route) -> None:
        cursors.append(route.request.headers.get("last-event-id"))
        await route.fulfill(content_type="text/event-stream", body=f"retry: 37\nid: {len(cursors)}\n\n")

    await page.goto("/health")
    await page.route("**/changes/stream*", answer)
    record = "const wait = window.setTimeout; window.waits = [];"
    record += "window.setTimeout = (then, ms) => { window.waits.push(ms); return wait(then, ms); };"
    await page.evaluate(f"(token) => {{ {record} {script} follow('', token, () => {{}}); }}", token)
    # The page has timers of its own.
    await page.wait_for_function("() => window.waits.filter((ms) => ms === 37).length >= 2")
    assert cursors[:2] == [None, "1"]
