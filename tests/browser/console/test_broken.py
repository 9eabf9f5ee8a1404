"""An API that is down, hangs or answers nonsense leaves a page that says so and recovers by itself."""

import re
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.console.desk import Console, Desk, console_page, mint

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
API = re.compile(r":\d+/(sync-events|files|changes|overview|throughput|subscriptions|deliveries|consistency)")
TIMEOUT = "TIMEOUT = 20_000"  # in lib/api.js

Answer = Callable[[Route], Awaitable[None]]


def answering(**response: Any) -> Answer:
    """A response in place of the service's."""

    async def fulfill(route: Route) -> None:
        await route.fulfill(**response)

    return fulfill


async def hang(_route: Route) -> None:
    """No response, until the page gives up."""


async def abort(route: Route) -> None:
    """The connection breaks."""
    await route.abort()


# What the service answers, and what the page says then.
BROKEN: list[tuple[Answer, str]] = [
    (answering(status=502, body="<html><b>Bad Gateway</b>", content_type="text/html"), "status 502"),
    (answering(status=200, body="<html>nonsense", content_type="text/html"), "cannot be read"),
    (answering(status=200, body='{"head_position": 1', content_type="application/json"), "cannot be read"),
    (answering(status=200, body=""), "cannot be read"),
    (
        answering(status=503, json={"detail": "<b>No database.</b>", "docs": "javascript:alert(1)"}),
        "<b>No database.</b>",
    ),
    (hang, "took too long"),
    (abort, "cannot be reached"),
]
# What only some pages can notice.
NONSENSE: list[tuple[str, Answer, str]] = [
    ("/overview", answering(status=200, json={"head_position": 1}), "cannot be shown"),
    ("/overview", answering(status=200, json=[]), "cannot be read"),
    ("/subscriptions", answering(status=200, json={}), "cannot be read"),
    ("/subscriptions", answering(status=200, json=[1, None]), "cannot be read"),
    ("/subscriptions", answering(status=200, json=[{"id": {}}]), "cannot be shown"),
]


async def hurry(page: Page) -> None:
    """Have the page give up after half a second instead of twenty."""

    async def shorten(route: Route) -> None:
        response = await route.fetch()
        script = await response.text()
        assert TIMEOUT in script
        await route.fulfill(response=response, body=script.replace(TIMEOUT, "TIMEOUT = 500"))

    await page.route("**/lib/api.js", shorten)
    await page.goto("about:blank")


async def expect_problem(console: Console, fragment: str, answer: Answer, sentence: str) -> None:
    """Open a page whose requests are answered so, and leave it again."""
    await console.page.route(API, answer)
    await console.page.evaluate("fragment => { location.hash = fragment; }", fragment)
    await expect(console.page.get_by_role("alert").first).to_contain_text(sentence)
    await expect(console.page.get_by_role("navigation")).to_be_visible()
    await expect(console.page.locator("main :is(b, a[href^=javascript])")).to_have_count(0)
    await console.page.unroute(API, answer)
    await console.page.evaluate("location.hash = '/proof'")
    await expect(console.page.get_by_role("alert")).to_have_count(0)


async def test_every_page_says_what_is_wrong(desk: Desk) -> None:
    pages = ("overview", "ledger", "set-aside", "subscriptions", "consistency")
    fragments = [*(f"/{page}" for page in pages), *desk.places.values()]
    assert len(fragments) > len(BROKEN)
    async with console_page(desk, strict=False) as console:
        await hurry(console.page)
        await console.log_in(mint(), "/proof")
        for fragment, (answer, sentence) in zip(fragments, cycle(BROKEN), strict=False):
            await expect_problem(console, fragment, answer, sentence)
        for fragment, answer, sentence in NONSENSE:
            await expect_problem(console, fragment, answer, sentence)


async def test_pages_recover_by_themselves(desk: Desk) -> None:
    async with console_page(desk, strict=False) as console:
        page = console.page
        await console.log_in(mint(), "/proof")
        for fragment, shown in (("/overview", ".tiles"), ("/ledger", "tbody tr")):
            await page.route(API, abort)
            await page.evaluate("fragment => { location.hash = fragment; }", fragment)
            await expect(page.get_by_role("alert").first).to_contain_text("cannot be reached")
            await page.unroute(API)
            await expect(page.locator(shown).first).to_be_visible()
            await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_page_whose_data_is_late_shows_where_it_will_be_and_moves_only_where_that_is_wanted(desk: Desk) -> None:
    async with console_page(desk) as console:
        page = console.page
        await console.log_in(mint(), "/proof")
        await page.route(API, hang)
        await page.evaluate("location.hash = '/set-aside'")
        await expect(page.locator("main [aria-busy=true]")).to_be_visible()
        assert await page.evaluate("document.getAnimations().length") == 0
        await page.emulate_media(reduced_motion="no-preference")
        assert await page.evaluate("document.getAnimations().length") > 0
        await page.emulate_media(reduced_motion="reduce")
