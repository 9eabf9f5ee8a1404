"""Bulk actions do what was shown, and nothing else."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.console.desk import Desk, console_page, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def confirm(page: Page, button: str, count: int) -> None:
    """Type the count into the dialog, after another one did nothing."""
    dialog = page.get_by_role("dialog")
    action = dialog.get_by_role("button", name=button)
    await dialog.get_by_label("to confirm").fill(str(count + 1))
    await expect(action).to_be_disabled()
    await dialog.get_by_label("to confirm").fill(str(count))
    await action.click()


async def test_all_events_with_one_error_are_requeued(desk: Desk) -> None:
    ids = await desk.set_aside(12, "KeyError: 'path'")
    async with console_page(desk) as console:
        await console.log_in(mint(), "/set-aside")
        await console.page.get_by_role("row", name="KeyError").get_by_role("button", name="Requeue all 12").click()
        await confirm(console.page, "Requeue all", 12)
        await expect(console.page.locator(".notice")).to_be_visible()
    await desk.settled()
    for one in ids:
        assert (await desk.client.get(f"/sync-events/{one}")).json()["state"] == "processed"
    left = (await desk.client.get("/sync-events/set-aside")).json()["groups"]
    assert left, "those with another error stay"
    assert all(group["last_error"] != "KeyError: 'path'" for group in left)


async def test_nothing_is_done_when_the_group_is_not_the_one_that_was_shown(desk: Desk) -> None:
    ids = await desk.set_aside(5, "OSError: full")
    async with console_page(desk, strict=False) as console:
        await console.log_in(mint(), "/set-aside")
        await console.page.get_by_role("row", name="OSError").get_by_role("button", name="Requeue all 5").click()
        (await desk.client.post(f"/sync-events/{ids[0]}/requeue")).raise_for_status()
        await confirm(console.page, "Requeue all", 5)
        await expect(console.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("4")
    states = [(await desk.client.get(f"/sync-events/{one}")).json()["state"] for one in ids[1:]]
    assert states == ["failed"] * 4


async def test_selected_events_alone_are_requeued(desk: Desk) -> None:
    ids = await desk.set_aside(3, "TimeoutError")
    async with console_page(desk) as console:
        await console.log_in(mint(), "/set-aside")
        boxes = console.page.get_by_role("row", name="TimeoutError").get_by_role("checkbox")
        await boxes.nth(0).check()
        await boxes.nth(2).check()
        await console.page.get_by_role("button", name="Requeue selected (2)").click()
        await console.page.get_by_role("dialog").get_by_role("button", name="Requeue 2").click()
        await expect(console.page.locator(".notice")).to_be_visible()
    await desk.settled()
    states = [(await desk.client.get(f"/sync-events/{one}")).json()["state"] for one in ids]
    assert sorted(states) == ["failed", "processed", "processed"]
    assert states[1] == "failed"


async def test_a_subscription_is_made_paused_rotated_and_deleted(desk: Desk) -> None:
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), "/subscriptions")
        await page.get_by_role("button", name="New subscription").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("URL").fill("http://127.0.0.1:9/hook")
        await dialog.get_by_label("Description").fill("made by hand")
        await dialog.get_by_role("button", name="Create").click()
        await expect(dialog).to_contain_text("whsec_")
        await dialog.get_by_role("button", name="Close").click()
        await page.get_by_role("link", name="made by hand").click()
        await page.get_by_role("button", name="Pause").click()
        await dialog.get_by_role("button", name="Pause").click()
        await expect(page.locator(".notice")).to_have_text("The subscription is paused.")
        await expect(page.get_by_role("button", name="Activate")).to_be_focused()
        await page.get_by_role("button", name="Rotate secret").click()
        await dialog.get_by_role("button", name="Rotate").click()
        await expect(dialog).to_contain_text("whsec_")
        await dialog.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Test").click()
        await dialog.get_by_role("button", name="Send it").click()
        await expect(dialog).to_contain_text("unreachable")
        await dialog.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Delete").click()
        await confirm(page, "Delete", 0)
        await expect(page.get_by_role("heading", name="Subscriptions")).to_be_visible()
    left = (await desk.client.get("/subscriptions")).json()
    assert [one["description"] for one in left] == ["search index"]


async def test_a_dialog_stays_until_it_has_shown_the_secret(desk: Desk) -> None:
    is_asked, may_go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        is_asked.set()
        await may_go_on.wait()
        await route.continue_()

    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), desk.places["subscription"])
        await page.route("**/rotate-secret", hold)
        await page.get_by_role("button", name="Rotate secret").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Rotate").click()
        await is_asked.wait()
        await expect(dialog.get_by_role("button", name="Cancel")).to_be_disabled()
        for _ in range(3):
            await page.keyboard.press("Escape")
        await expect(dialog).to_contain_text("Working…")
        may_go_on.set()
        await expect(dialog).to_contain_text("whsec_")
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)


async def test_findings_are_accepted_and_a_repair_is_planned(desk: Desk) -> None:
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), "/consistency")
        rows = page.get_by_role("region", name="Findings").get_by_role("row", name="missing")
        await rows.first.get_by_role("button", name="Accept").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Reason").fill("deleted <b>by hand</b>")
        await dialog.get_by_role("button", name="Accept").click()
        await expect(page.get_by_text("Accepted: deleted <b>by hand</b>")).to_be_visible()
        await page.get_by_role("button", name="Plan a repair").click()
        await dialog.get_by_role("button", name="Plan").click()
        await expect(dialog).to_contain_text("The plan is to redeliver")
        await expect(dialog.get_by_role("button", name="Apply the plan")).to_be_disabled()
