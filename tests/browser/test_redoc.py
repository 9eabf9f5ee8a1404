"""`/redoc` in a browser: it renders every operation, and finds one."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_all_operations_are_shown(page: Page, tmp_path: Path) -> None:
    document = await (await page.request.get("/openapi.json")).json()
    await page.goto("/redoc")
    for path in document["paths"].values():
        for operation in path.values():
            section = page.locator(f"[id$='operation/{operation['operationId']}']")
            await expect(section.get_by_role("heading", level=2)).to_have_text(operation["summary"])
    await page.screenshot(path=tmp_path / "redoc.png", full_page=True)


async def test_the_search_finds_an_operation(page: Page) -> None:
    await page.goto("/redoc")
    await page.get_by_placeholder("Search...").fill("requeue")
    await expect(page.get_by_role("menuitem", name="Requeue a set-aside event").first).to_be_visible()
