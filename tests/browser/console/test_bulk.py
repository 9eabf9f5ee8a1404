"""Bulk actions do what was shown, and nothing else."""

import pytest
from playwright.async_api import expect

from tests.browser.console.desk import Desk, confirm, console_page, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


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
