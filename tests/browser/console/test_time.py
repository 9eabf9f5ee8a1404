"""What happens as time passes: a token expires, and a screen reader is told of changes now and then."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.console.desk import Desk, console_page, mint
from tests.support.browser import open_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
EXPIRED = 'retry: 10\n\nevent: reconnect\ndata: {"reason": "token-expired"}\n\n'

ANNOUNCE = """async () => {
    const { announce } = await import("./console/assets/lib/announce.js");
    const region = document.getElementById("announcements");
    window.said = [];
    new MutationObserver(() => said.push([Date.now(), region.textContent])).observe(region, { childList: true });
    let number = 0;
    setInterval(() => announce(`${++number} new events`), 1000);
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clocked(browser: Browser, desk: Desk) -> AsyncIterator[Page]:
    """A page of its own, since a clock that is set stays with it."""
    async with open_page(browser, desk.service.url) as page:
        await page.clock.install()
        yield page


async def test_at_exp_the_page_logs_out(clocked: Page, desk: Desk) -> None:
    async with console_page(desk, page=clocked) as console:
        await clocked.clock.set_system_time(datetime.now(UTC))
        await console.log_in(mint(), "/proof")
        await clocked.clock.fast_forward(61 * 60 * 1000)
        await expect(clocked.get_by_role("alert")).to_contain_text("has expired")


async def test_a_stream_whose_token_expired_leads_to_the_login_and_back(desk: Desk) -> None:
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), "/proof")
        await page.route(
            "**/changes/stream*", lambda route: route.fulfill(content_type="text/event-stream", body=EXPIRED)
        )
        await page.evaluate("location.hash = '/ledger?event_type=upload'")
        await expect(page.get_by_role("alert")).to_contain_text("has expired")
        await expect(page.get_by_role("navigation")).to_have_count(0)
        await page.unroute("**/changes/stream*")
        await page.get_by_label("Token").fill(mint())
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Live:")).to_be_visible()
        assert page.url.endswith("#/ledger?event_type=upload")


async def test_changes_are_announced_politely_and_at_most_every_five_seconds(clocked: Page, desk: Desk) -> None:
    async with console_page(desk, page=clocked) as console:
        await clocked.clock.set_system_time(datetime.now(UTC))
        await console.log_in(mint(), "/proof")
        region = clocked.locator("#announcements")
        assert await region.get_attribute("aria-live") == "polite"
        await clocked.evaluate(ANNOUNCE)
        await clocked.clock.run_for(21_000)
        said = await clocked.evaluate("window.said")
        gaps = [later - earlier for (earlier, _), (later, _) in pairwise(said)]
        assert len(said) >= 4, "the latest is said again and again"
        assert min(gaps) >= 5000, said
        texts = [text for _, text in said]
        assert len(set(texts)) == len(texts)


async def test_what_is_typed_stays_while_the_findings_are_loaded_again(clocked: Page, desk: Desk) -> None:
    async with console_page(desk, page=clocked) as console:
        await console.log_in(mint(), "/consistency")
        await clocked.get_by_role("searchbox").press_sequentially("00000000-")
        for _ in range(2):  # the second is asked for after the first was drawn
            async with clocked.expect_response("**/consistency/findings*"):
                await clocked.clock.fast_forward(6000)
        await expect(clocked.get_by_role("searchbox")).to_have_value("00000000-")
