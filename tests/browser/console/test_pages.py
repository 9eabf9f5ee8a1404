"""Every page: nothing goes wrong, nothing comes from elsewhere, axe finds nothing, and it fits 320 pixels."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, expect

from tests.browser.console.desk import Desk, console_page, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
PAGES = (
    "overview",
    "ledger",
    "set-aside",
    "subscriptions",
    "consistency",
    "proof",
    "alert/SyncEventsSetAside",
    "nothing",
)
FIND = """([within, options]) => axe.run(within, options)
    .then(({violations}) => violations.map(({id, nodes}) => [id, nodes[0].html]))"""
OPENED = ("event", "file", "subscription", "delivery")


def fragments(desk: Desk) -> list[str]:
    """The fragment of each page."""
    return [*(f"/{page}" for page in PAGES), *(desk.places[page] for page in OPENED)]


async def violations(page: Page, *rules: str, within: str = "html") -> list[str]:
    """What axe finds, by all its rules unless some are named."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    only = {"runOnly": list(rules)} if rules else {}
    listed: list[str] = await page.evaluate(FIND, [within, {"resultTypes": ["violations"], **only}])
    return listed


async def violations_in_the_dark(page: Page, within: str = "html") -> list[str]:
    """What axe finds about colours in the dark; nothing else depends on them."""
    await page.emulate_media(color_scheme="dark")
    found = await violations(page, "color-contrast", "link-in-text-block", within=within)
    await page.emulate_media(color_scheme="light")
    return found


async def fits(page: Page, width: int) -> bool:
    """Whether the page needs no more than `width` pixels."""
    await page.set_viewport_size({"width": width, "height": 900})
    overflow: int = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return overflow <= 0


async def test_every_page_is_accessible_and_fits(desk: Desk) -> None:
    async with console_page(desk, width=1440) as console:
        page = console.page
        await page.goto("/console")
        await expect(page.get_by_label("Token")).to_be_visible()
        assert await violations(page) == []
        assert await violations_in_the_dark(page) == []
        assert await fits(page, 320)
        await console.log_in(mint())
        for fragment in fragments(desk):
            await console.go(fragment)
            assert await violations(page) == [], fragment
            assert await violations_in_the_dark(page) == [], fragment
            assert await fits(page, 320), fragment
            assert await violations(page, "scrollable-region-focusable") == [], fragment
            assert await fits(page, 1440), fragment
            assert await page.title() != ""


async def test_a_dialog_and_the_help_are_accessible(desk: Desk) -> None:
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), desk.places["subscription"])
        await page.get_by_role("button", name="Replay").click()
        for name in ("Replay", "Keyboard"):
            await expect(page.get_by_role("dialog", name=name)).to_be_visible()
            assert await violations(page, within="dialog[open]") == [], name
            assert await violations_in_the_dark(page, "dialog[open]") == [], name
            await page.keyboard.press("Escape")
            await page.keyboard.press("?")


async def test_the_same_links_lead_everywhere(desk: Desk) -> None:
    async with console_page(desk) as console:
        await console.log_in(mint())
        links = (
            await console.page.get_by_role("navigation").get_by_role("link").evaluate_all("all => all.map(a => a.hash)")
        )
        assert links == [f"#/{page}" for page in PAGES[:6]]


async def test_the_file_page_tells_the_whole_story(desk: Desk) -> None:
    async with console_page(desk) as console:
        await console.log_in(mint(), desk.places["file"])
        await console.loaded()
        main = console.page.get_by_role("main")
        await expect(main.get_by_role("group", name="Verdicts")).to_contain_text("metadata service")
        await main.get_by_role("button", name="Check now").click()
        await expect(main.get_by_role("group", name="Verdicts")).to_contain_text("consistent")
        await main.get_by_role("link", name="delivery").first.click()
        await expect(main.get_by_role("group", name="Attempts")).to_contain_text("<img src=x onerror=alert(1)>")


async def test_every_alert_of_a_problem_has_its_section(desk: Desk) -> None:
    overview = (await desk.client.get("/overview")).json()
    waiting = {"count": 2, "backlog": 1_000_000, "oldest_pending_age_seconds": 90_000}
    overview |= {"oldest_unprocessed_age_seconds": 900, "set_aside": 100_000, "open_findings": 3}
    overview |= {"clock_ahead_seconds": 5, "subscriptions": dict.fromkeys(("active", "paused", "disabled"), waiting)}
    async with console_page(desk) as console:
        await console.page.route("**/overview", lambda route: route.fulfill(json=overview))
        await console.log_in(mint())
        await console.loaded()
        status = console.page.get_by_role("region", name="Status")
        await expect(status).to_contain_text("100,000+ events are set aside")
        await expect(status).to_contain_text("Paused subscriptions are 1,000,000 events behind.")
        links = await status.get_by_role("link", name="docs/alerts.md").evaluate_all("all => all.map(a => a.hash)")
        assert "#/alert/SyncFindingsOpen" in links
        for link in links:
            await console.go(link.removeprefix("#"))
            await expect(console.page.locator(".prose")).to_be_visible()
            await expect(console.page.get_by_role("heading", name=link.removeprefix("#/alert/"))).to_be_visible()
