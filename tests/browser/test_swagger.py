"""`/docs` in a browser: it renders, takes a token, and its examples work when they are sent."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.browser.prefix_proxy import prefix_proxy
from tests.support.browser import open_page, watched
from tests.support.process import ServiceProcess

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
SUMMARIES = """all => all.map(panel =>
    [panel.id.split("-").at(-1), panel.querySelector(".opblock-summary-description").textContent])"""
OPERATIONS = (
    *("createSyncEvent", "createSyncEvents", "getSyncEvent", "listSyncEvents"),
    *("getFile", "listFileEvents", "streamChanges"),
)
STORED = "JSON.stringify([{...localStorage}, {...sessionStorage}])"


async def authorise(page: Page, token: str) -> None:
    """Paste the token into the dialog."""
    await page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    await dialog.get_by_role("textbox").fill(token)
    await dialog.get_by_role("button", name="Apply credentials").click()
    await dialog.get_by_role("button", name="Close").last.click()


def excerpt(document: dict[str, Any], operations: Sequence[str]) -> dict[str, Any]:
    """Some operations of the document with what they refer to: to open one of the whole takes Swagger UI seconds."""
    paths = {
        path: {method: one for method, one in item.items() if one["operationId"] in operations}
        for path, item in document["paths"].items()
    }
    components: dict[str, Any] = {"securitySchemes": document["components"]["securitySchemes"]}
    unread: list[Any] = [paths]
    while unread:
        for kind, name in re.findall(r'"#/components/(\w+)/(\w+)"', json.dumps(unread.pop())):
            if name not in components.setdefault(kind, {}):
                components[kind][name] = document["components"][kind][name]
                unread.append(components[kind][name])
    return {**document, "paths": paths, "webhooks": {}, "components": components}


async def shorten(page: Page, *operations: str) -> None:
    """Have the page load an excerpt of the service's own document."""

    async def fulfill(route: Route) -> None:
        await route.fulfill(json=excerpt(await (await route.fetch()).json(), operations))

    await page.route("**/openapi.json", fulfill)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def docs(browser: Browser, service: ServiceProcess, token: str) -> AsyncIterator[Page]:
    """The page with some operations, loaded and given the token once; tests leave its panels folded."""
    async with open_page(browser, service.url, reduced_motion="reduce") as page, watched(page, service.url):
        await page.goto("/health/live")
        await page.evaluate("localStorage.setItem('authorized', 'a token of an earlier release')")
        await shorten(page, *OPERATIONS)
        await page.goto("/docs")
        await authorise(page, token)
        yield page


@asynccontextmanager
async def unfolded(page: Page, operation: str) -> AsyncIterator[Locator]:
    """The open panel of an operation."""
    panel = page.locator(f"[id$='-{operation}']")
    await panel.locator(".opblock-summary-control").click()
    yield panel
    await panel.locator(".opblock-summary-control").click()


async def execute(panel: Locator) -> tuple[int, Any]:
    """Send what the panel holds; the status and the body that it shows, before it is cleared."""
    await panel.get_by_role("button", name="Execute").click()
    shown = panel.locator(".live-responses-table tbody tr.response")
    status = await shown.locator(".response-col_status").first.inner_text()
    body = await shown.locator(".highlight-code code").first.inner_text()
    await panel.get_by_role("button", name="Clear").click()
    return int(status), json.loads(body)


async def test_all_operations_are_shown(page: Page) -> None:
    await page.goto("/docs")
    document = await (await page.request.get("/openapi.json")).json()
    paths = [*document["paths"].values(), *document["webhooks"].values()]
    operations = [operation for path in paths for operation in path.values()]
    panels = page.locator(".opblock")
    await expect(panels).to_have_count(len(operations))
    shown = await panels.evaluate_all(SUMMARIES)
    assert dict(shown) == {operation["operationId"]: operation["summary"] for operation in operations}


@pytest.mark.parametrize(("operation", "examples"), [("createSyncEvent", 3), ("createSyncEvents", 2)])
async def test_every_example_of_a_body_works(operation: str, examples: int, docs: Page) -> None:
    async with unfolded(docs, operation) as panel:
        choice = panel.locator(".examples-select-element").first
        options = choice.locator("option")
        await expect(options).to_have_count(examples)
        values = await options.evaluate_all("all => all.map(option => option.value)")
        for value in values:
            await choice.select_option(value)
            assert (await execute(panel))[0] == 201, value


async def test_an_event_is_posted_and_what_is_filled_in_can_be_asked_for(docs: Page, token: str) -> None:
    async with unfolded(docs, "createSyncEvent") as panel:
        status, created = await execute(panel)
    assert status == 201

    headers = {"Authorization": f"Bearer {token}"}
    [event] = await (await docs.request.get("/sync-events?limit=1", headers=headers)).json()
    assert (event["event_id"], event["event_type"]) == (created["event_id"], "upload")
    assert event["created_by"] == "developer"

    async with unfolded(docs, "getSyncEvent") as panel:
        await panel.get_by_placeholder("event_id").fill(created["event_id"])
        status, shown = await execute(panel)
    assert (status, shown["event_id"]) == (200, created["event_id"])

    for operation in ("listSyncEvents", "getFile", "listFileEvents"):
        async with unfolded(docs, operation) as panel:
            assert (await execute(panel))[0] == 200, operation
    # Nothing is kept after all this, and what earlier releases have left is gone.
    assert await docs.evaluate(STORED) == "[{},{}]"


async def test_the_stream_is_for_a_terminal(docs: Page) -> None:
    async with unfolded(docs, "streamChanges") as panel:
        command = await panel.locator(".stream-hint pre").inner_text()
        assert re.fullmatch(
            r'curl -N -H "Authorization: Bearer \$TOKEN" "http://[^/]+/changes/stream\?cursor=latest"', command
        )
        await expect(panel.get_by_role("button", name="Execute")).to_have_count(0)
        for text in ("401", "503"):
            await expect(panel.locator(f"tr.response[data-code='{text}']")).to_be_visible()


async def test_it_works_behind_a_proxy_that_takes_a_prefix_away(
    shared_page: Page, service: ServiceProcess, token: str
) -> None:
    async with prefix_proxy(service.port) as proxy, watched(shared_page, proxy.url):
        await shorten(shared_page, "createSyncEvent")
        await shared_page.goto(f"{proxy.url}/docs")
        await authorise(shared_page, token)
        async with unfolded(shared_page, "createSyncEvent") as panel:
            assert (await execute(panel))[0] == 201
    assert "/api/sync/sync-events" in proxy.asked
    assert all(path.startswith("/api/sync/") for path in proxy.asked)
