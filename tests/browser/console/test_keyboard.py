"""The console without a mouse."""

import pytest
from playwright.async_api import expect

from tests.browser.console.desk import Desk, console_page, file_id, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
FILE = file_id(4200)


async def test_everything_can_be_reached_by_the_keyboard(desk: Desk) -> None:
    await desk.post({"file_id": str(FILE), "event_type": "upload", "metadata": {"path": "a.txt"}})
    async with console_page(desk) as console:
        page, keys = console.page, console.page.keyboard
        await page.goto("/console")
        await keys.insert_text(mint())
        await keys.press("Enter")
        await expect(page.get_by_role("heading", name="Overview")).to_be_visible()

        for letter, name in zip(
            "lascpo", ("Ledger", "Set aside", "Subscriptions", "Consistency", "Proof", "Overview"), strict=True
        ):
            await keys.type(f"g{letter}")
            await expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()

        await keys.press("?")
        await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        await keys.press("Escape")

        await keys.type("gl")
        await expect(page.get_by_role("searchbox")).to_be_visible()
        await keys.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await keys.insert_text(str(FILE).upper())
        await keys.press("Enter")
        await expect(page.locator("tbody tr")).to_have_count(1)

        metadata = page.get_by_role("button", name="Metadata of event")
        for _ in range(40):
            if await metadata.evaluate("element => element === document.activeElement"):
                break
            await keys.press("Tab")
        outline = "element => getComputedStyle(element).outlineStyle"
        assert await metadata.evaluate(outline) != "none"
        await keys.press("Enter")
        await expect(page.locator("tbody pre")).to_contain_text("a.txt")
        await expect(metadata).to_have_attribute("aria-expanded", "true")


FILL_SEARCH = """
() => new MutationObserver((_changes, observer) => {
  const field = document.querySelector("input[type=search]");
  if (!field) return;
  field.value = "pasted";
  observer.disconnect();
}).observe(document.body, { childList: true, subtree: true })
"""


async def test_keys_and_the_search_work_as_soon_as_they_are_there(desk: Desk) -> None:
    async with console_page(desk) as console:
        await console.log_in(mint())
        await console.page.evaluate(FILL_SEARCH)
        await console.page.keyboard.type("gl")
        await expect(console.page.locator("tbody tr").first).to_be_visible()
        await expect(console.page.get_by_role("searchbox")).to_have_value("pasted")


async def test_the_focus_comes_back_from_a_dialog(desk: Desk) -> None:
    async with console_page(desk) as console:
        await console.log_in(mint(), desk.places["subscription"])
        button = console.page.get_by_role("button", name="Rotate secret")
        await button.focus()
        await console.page.keyboard.press("Enter")
        await expect(console.page.get_by_role("dialog", name="Rotate the secret")).to_be_visible()
        await console.page.keyboard.press("Escape")
        await expect(console.page.get_by_role("dialog")).to_have_count(0)
        await expect(button).to_be_focused()
