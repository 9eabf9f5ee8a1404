"""Findings of the consistency checks: accepted, and repaired by a plan."""

import pytest
from playwright.async_api import expect

from tests.browser.console.desk import Desk, confirm, console_page, file_id, held, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_findings_are_accepted_and_repaired(desk: Desk) -> None:
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), f"/consistency?file_id={file_id(7)}")
        rows = page.get_by_role("region", name="Findings").get_by_role("row", name="missing")
        await rows.first.get_by_role("button", name="Accept").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Reason").fill("deleted <b>by hand</b>")
        await dialog.get_by_role("button", name="Accept").click()
        await expect(page.get_by_text("Accepted: deleted <b>by hand</b>")).to_be_visible()

        await console.go(f"/consistency?file_id={file_id(8)}")
        await page.get_by_role("button", name="Plan a repair").click()
        await dialog.get_by_role("button", name="Plan").click()
        await expect(dialog).to_contain_text("The plan is to redeliver")
        async with held(page, "**/apply") as has_come:
            await confirm(page, "Apply the plan", 1)
            await has_come.wait()
            await expect(dialog.get_by_role("button", name="Cancel")).to_be_disabled()
            for _ in range(3):
                await page.keyboard.press("Escape")
            await expect(dialog).to_contain_text("Working…")
        await expect(dialog).to_contain_text("1 finding repaired, 0 skipped")
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_have_count(0)
