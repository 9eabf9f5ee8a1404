"""The live ledger under load: a bounded number of rows, nothing of the newest lost, what is left out counted."""

import asyncio
import os
import re

import pytest
from playwright.async_api import expect

from tests.browser.console.desk import Console, Desk, console_page, file_id, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
MOST = 500
RATE = 500
SECONDS = float(os.environ.get("SYNC_TEST_TAIL_SECONDS", "3"))  # 30 in the long run
WAVES = 5  # a second


async def stream_events(desk: Desk, seconds: float) -> int:
    """Record `RATE` events a second; how many they were."""
    loop, batch = asyncio.get_running_loop(), RATE // WAVES
    begin = loop.time()
    waves = int(seconds * WAVES)
    for wave in range(waves):
        await asyncio.sleep(max(0, begin + wave / WAVES - loop.time()))
        events = [
            {"file_id": str(file_id(5000 + n)), "event_type": "update", "metadata": {"n": n}} for n in range(batch)
        ]
        await desk.post(*events)
    return waves * batch


async def shown_positions(console: Console) -> list[int]:
    """The positions of the rows, from the top."""
    texts = await console.page.locator("tbody tr td:first-child").all_inner_texts()
    return [int(text.replace(",", "")) for text in texts]


async def head(desk: Desk) -> int:
    position: int = (await desk.client.get("/changes?cursor=latest")).json()["head_position"]
    return position


async def test_a_tail_of_500_events_a_second_stays_bounded_and_loses_nothing(desk: Desk) -> None:
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), "/ledger")
        await expect(page.get_by_text("Live:")).to_be_visible()
        first = len(await shown_positions(console))
        await page.evaluate(
            "most = 0; const rows = () => document.querySelectorAll('tbody tr').length;"
            "new MutationObserver(() => { most = Math.max(most, rows()); })"
            ".observe(document.querySelector('main'), {childList: true, subtree: true});"
        )
        sent = await stream_events(desk, SECONDS / 2)
        # What the page has yet to receive, and receives during the pause, would count as new.
        await expect(page.locator("tbody tr td:first-child").first).to_have_text(f"{await head(desk):,}")
        await page.get_by_role("button", name="Pause").click()
        while_paused = await stream_events(desk, SECONDS / 2)
        waiting = page.get_by_role("button", name=re.compile(r"^[\d,]+ new$"))
        await expect(waiting).to_have_text(re.compile(f"^{while_paused:,} new$"))
        before = await shown_positions(console)
        await page.wait_for_timeout(500)
        assert await shown_positions(console) == before, "nothing moves during a pause"
        await waiting.click()
        newest = await head(desk)
        await expect(page.locator("tbody tr td:first-child").first).to_have_text(f"{newest:,}")
        assert await shown_positions(console) == list(range(newest, newest - MOST, -1))
        left_out = first + sent + while_paused - MOST
        await expect(page.get_by_text(f"{left_out:,} earlier events")).to_be_visible()
        assert await page.evaluate("most") <= MOST


async def test_the_tail_continues_after_a_lost_connection(desk: Desk) -> None:
    async with console_page(desk, strict=False) as console:
        page = console.page
        await console.log_in(mint(), "/ledger")
        await expect(page.get_by_text("Live:")).to_be_visible()
        await page.context.set_offline(True)
        await page.evaluate("dispatchEvent(new Event('offline'))")
        last = await head(desk)
        for _ in range(3):
            await desk.post({"file_id": str(file_id(5001)), "event_type": "update"})
        await page.context.set_offline(False)
        await expect(page.locator("tbody tr td:first-child").first).to_have_text(f"{last + 3:,}")
        positions = await shown_positions(console)
        assert positions == list(range(positions[0], positions[-1] - 1, -1))
