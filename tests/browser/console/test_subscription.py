"""What is done with a subscription, each action to its end; those that are dangerous with their count."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import expect

from tests.browser.console.desk import Desk, confirm, console_page, file_id, held, mint
from tests.support.receiver import Receiver, answer, receiving
from tests.support.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
FILES = [file_id(number) for number in range(4300, 4303)]


@asynccontextmanager
async def subscribed(desk: Desk, receiver: Receiver) -> AsyncIterator[str]:
    """The path of a subscription of updates, which has got three."""
    async with receiving(receiver):
        body = {"url": receiver.url, "event_types": ["update"]}
        response = (await desk.client.post("/subscriptions", json=body)).raise_for_status()
        path = f"/subscriptions/{response.json()['id']}"
        await desk.post(*({"file_id": str(one), "event_type": "update"} for one in FILES))
        await until(lambda: len(receiver.received) == len(FILES))
        yield path
        await desk.client.delete(path)


def page_of(path: str) -> str:
    """The fragment of its page."""
    return path.replace("subscriptions", "subscription")


async def test_events_are_replayed(desk: Desk) -> None:
    receiver = Receiver()
    async with subscribed(desk, receiver) as path, console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), page_of(path))
        await page.get_by_role("button", name="Replay").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("From position").fill(str(receiver.positions[1]))
        await dialog.get_by_label("Until position").fill(str(receiver.positions[2]))
        await confirm(page, "Replay", receiver.positions[2] - receiver.positions[1] + 1)
        await expect(page.locator(".notice")).to_have_text("The replay has begun.")
        await until(lambda: len(receiver.received) == len(FILES) + 2)
        assert sorted(receiver.positions[-2:]) == sorted(receiver.positions[1:3])


async def test_all_dead_deliveries_are_redelivered(desk: Desk) -> None:
    receiver = Receiver()
    async with subscribed(desk, receiver) as path, console_page(desk) as console:
        await desk.end_deliveries(path)
        await console.log_in(mint(), page_of(path))
        await console.page.get_by_role("button", name="Redeliver all 3 dead").click()
        await confirm(console.page, "Redeliver all", 3)
        await expect(console.page.locator(".notice")).to_have_text("3 deliveries are pending again.")
        await until(lambda: len(receiver.received) == 2 * len(FILES))
        assert sorted(receiver.positions[-3:]) == sorted(receiver.positions[:3])


async def test_a_subscription_with_pending_deliveries_is_deleted(desk: Desk) -> None:
    receiver = Receiver(decide=lambda _request: answer(500))
    async with subscribed(desk, receiver) as path, console_page(desk) as console:
        await console.log_in(mint(), page_of(path))
        await console.page.get_by_role("button", name="Delete").click()
        await expect(console.page.get_by_role("dialog")).to_contain_text("3 of them are pending")
        await confirm(console.page, "Delete", 3)
        await expect(console.page.get_by_role("heading", name="Subscriptions")).to_be_visible()
        assert (await desk.client.get(path)).status_code == 404


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
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), desk.places["subscription"])
        dialog = page.get_by_role("dialog")
        async with held(page, "**/rotate-secret") as has_come:
            await page.get_by_role("button", name="Rotate secret").click()
            await dialog.get_by_role("button", name="Rotate").click()
            await has_come.wait()
            await expect(dialog.get_by_role("button", name="Cancel")).to_be_disabled()
            for _ in range(3):
                await page.keyboard.press("Escape")
            await expect(dialog).to_contain_text("Working…")
        await expect(dialog).to_contain_text("whsec_")
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
