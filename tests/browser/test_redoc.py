"""`/redoc` in a browser: it renders every operation, and finds one."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.browser import watched_page
from tests.support.process import ServiceProcess

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def redoc(browser: Browser, service: ServiceProcess) -> AsyncIterator[Page]:
    """The page, loaded once, since that takes seconds."""
    async with watched_page(browser, service.url) as page:
        await page.goto("/redoc")
        yield page


async def test_all_operations_are_shown(redoc: Page) -> None:
    document = await (await redoc.request.get("/openapi.json")).json()
    for path in document["paths"].values():
        for operation in path.values():
            section = redoc.locator(f"[id$='operation/{operation['operationId']}']")
            await expect(section.get_by_role("heading", level=2)).to_have_text(operation["summary"])


async def test_the_search_finds_an_operation(redoc: Page) -> None:
    await redoc.get_by_placeholder("Search...").fill("requeue")
    await expect(redoc.get_by_role("menuitem", name="Requeue a set-aside event").first).to_be_visible()
