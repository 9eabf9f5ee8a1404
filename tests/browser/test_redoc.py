"""`/redoc` in a browser: it renders every operation, and finds one."""

import pytest
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
HEADINGS = """all => all.map(section =>
    [section.id.split("operation/").at(-1), section.querySelector("h2").innerText.trim()])"""


async def test_every_operation_is_shown_and_found(page: Page) -> None:
    await page.goto("/redoc")
    document = await (await page.request.get("/openapi.json")).json()
    summaries = [
        (operation["operationId"], operation["summary"])
        for path in document["paths"].values()
        for operation in path.values()
    ]
    sections = page.locator("[id*='operation/']:has(h2)")
    await expect(sections.nth(len(summaries) - 1)).to_be_attached()
    shown = [tuple(section) for section in await sections.evaluate_all(HEADINGS)]
    assert set(summaries) <= set(shown)
    await page.get_by_placeholder("Search...").fill("requeue")
    await expect(page.get_by_role("menuitem", name="Requeue a set-aside event").first).to_be_visible()
