"""`/docs` in a browser: it renders, takes a token, and its examples work when they are sent."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.conftest import LOCAL_MODE
from tests.support.browser import watched_page
from tests.support.process import ServiceProcess

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def authorise(page: Page, token: str) -> None:
    """Paste the token into the dialog."""
    await page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    await dialog.get_by_role("textbox").fill(token)
    await dialog.get_by_role("button", name="Apply credentials").click()
    await dialog.get_by_role("button", name="Close").last.click()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def docs(browser: Browser, service: ServiceProcess, token: str) -> AsyncIterator[Page]:
    """The page, loaded and given the token once, since that takes seconds; tests leave its panels folded."""
    async with watched_page(browser, service.url) as page:
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


async def test_all_operations_are_shown(docs: Page) -> None:
    document = await (await docs.request.get("/openapi.json")).json()
    paths = [*document["paths"].values(), *document["webhooks"].values()]
    operations = [operation for path in paths for operation in path.values()]
    await expect(docs.locator(".opblock")).to_have_count(len(operations))
    for operation in operations:
        panel = docs.locator(f"[id$='-{operation['operationId']}']")
        await expect(panel.locator(".opblock-summary-description")).to_have_text(operation["summary"])


async def test_an_event_is_posted_and_read(docs: Page, token: str) -> None:
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


@pytest.mark.parametrize(("operation", "examples"), [("createSyncEvent", 3), ("createSyncEvents", 2)])
async def test_every_example_of_a_body_works(operation: str, examples: int, docs: Page) -> None:
    async with unfolded(docs, operation) as panel:
        choice = panel.locator(".examples-select-element").first
        values = [await option.get_attribute("value") for option in await choice.locator("option").all()]
        assert len(values) == examples
        for value in values:
            await choice.select_option(value)
            assert (await execute(panel))[0] == 201, value


async def test_what_is_filled_in_can_be_asked_for(docs: Page) -> None:
    async with unfolded(docs, "createSyncEvent") as panel:
        assert (await execute(panel))[0] == 201
    for operation in ("listSyncEvents", "getFile", "listFileEvents", "getInformation", "getHealth"):
        async with unfolded(docs, operation) as panel:
            assert (await execute(panel))[0] == 200, operation


async def test_the_stream_is_for_a_terminal(docs: Page) -> None:
    async with unfolded(docs, "streamChanges") as panel:
        command = await panel.locator(".stream-hint pre").inner_text()
        assert re.fullmatch(
            r'curl -N -H "Authorization: Bearer \$TOKEN" "http://[^/]+/changes/stream\?cursor=latest"', command
        )
        await expect(panel.get_by_role("button", name="Execute")).to_have_count(0)
        for text in ("401", "503"):
            await expect(panel.locator(f"tr.response[data-code='{text}']")).to_be_visible()


async def test_no_token_is_kept_and_the_one_of_earlier_releases_goes(
    browser: Browser, service: ServiceProcess, token: str
) -> None:
    async with watched_page(browser, service.url) as page:
        await page.goto("/health/live")
        await page.evaluate("token => localStorage.setItem('authorized', token)", token)
        await page.goto("/docs")
        await authorise(page, token)
        async with unfolded(page, "listSyncEvents") as panel:
            assert (await execute(panel))[0] == 200
        kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert kept == "[{},{}]"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_it_works_behind_a_proxy_that_takes_a_prefix_away(
    browser: Browser, start_service: Callable[..., ServiceProcess], token: str
) -> None:
    command = ("uvicorn", "app.main:app", "--port", "{port}", "--root-path", "/sync")
    service = start_service(*command, **LOCAL_MODE)
    asked: list[str] = []

    async def without_prefix(route: Route) -> None:
        asked.append(route.request.url)
        await route.continue_(url=route.request.url.replace("/sync/", "/", 1))

    async with watched_page(browser, service.url) as page:
        await page.route(re.compile(r":\d+/"), without_prefix)
        await page.goto("/sync/docs")
        await authorise(page, token)
        async with unfolded(page, "createSyncEvent") as panel:
            assert (await execute(panel))[0] == 201
    assert f"{service.url}/sync/sync-events" in asked
    assert all(url.startswith(f"{service.url}/sync/") for url in asked)
