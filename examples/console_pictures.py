"""Draws every page (`make screenshots`): the pictures of the documentation into docs/, all into build/console/.

The pages of the console are drawn on an empty ledger, on a believable history, and while the API is broken; each light
and dark, wide and narrow.
"""

import asyncio
import re
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
from demo_process import Service, running_service
from history import Receiver, write_history
from playwright.async_api import Browser, FloatRect, Page, Route, ViewportSize, async_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
ALL = Path(__file__).resolve().parents[1] / "build" / "console"
PAGES = ("overview", "ledger", "set-aside", "subscriptions", "consistency", "proof")
MORE = {"alert": "alert/SyncEventsSetAside", "unknown": "nothing"}
PLAIN = {  # path, and a text that is present once the page is drawn
    "root": ("/", "h1"),
    "docs": ("/docs", ".opblock"),
    "redoc": ("/redoc", "[id*='operation/'] h2"),
    "problem": ("/problems/concurrency-limited", "h1"),
    "login": ("/console", "form"),
}
IN_DOCS = {"overview": "light", "ledger": "dark"}  # the pictures of README.md and docs/console.md, and their colours
IN_DOCS_SIZE = ViewportSize(width=1280, height=820)
WIDTHS = (1440, 320)
HEIGHT = 900
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu")
API = re.compile(r":\d+/(sync-events|files|changes|overview|throughput|subscriptions|deliveries|consistency)")


async def draw(browser: Browser, service: Service, state: str, pages: dict[str, str]) -> None:
    """Draw pages of the console, by name and fragment, in one state."""
    for scheme in ("light", "dark"):
        context = await browser.new_context(base_url=service.url, color_scheme=scheme)
        page = await context.new_page()
        await _log_in(page, service.token)
        if state == "broken":
            await page.route(API, _break)
        for name, fragment in pages.items():
            await page.evaluate("fragment => { location.hash = `/${fragment}`; }", fragment)
            await page.locator("main h1").wait_for()
            await _shoot(page, f"{state}-{name}-{scheme}")
            if state == "busy" and IN_DOCS.get(name) == scheme:
                await page.set_viewport_size(IN_DOCS_SIZE)
                await page.wait_for_timeout(600)
                await page.screenshot(path=DOCS / f"console-{name}.png")
        await context.close()


async def draw_plain(browser: Browser, service: Service) -> None:
    """Draw the pages outside the console, and its login."""
    for scheme in ("light", "dark"):
        context = await browser.new_context(base_url=service.url, color_scheme=scheme)
        page = await context.new_page()
        for name, (path, drawn) in PLAIN.items():
            await page.goto(path)
            await page.locator(drawn).first.wait_for()
            await _shoot(page, f"plain-{name}-{scheme}")
        await context.close()


async def _shoot(page: Page, name: str) -> None:
    """One picture of each width."""
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": HEIGHT})
        await page.wait_for_timeout(700)  # loaded data, charts, and parts that are drawn at most four times a second
        height = min(3 * HEIGHT, await page.evaluate("document.documentElement.scrollHeight"))
        clip = FloatRect(x=0, y=0, width=width, height=height)
        await page.screenshot(path=ALL / f"{name}-{width}.png", full_page=True, clip=clip)


async def _log_in(page: Page, token: str) -> None:
    await page.goto("/console#/proof")
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")
    await page.get_by_role("navigation").wait_for()


async def _break(route: Route) -> None:
    """Lists get no response, subscriptions malformed JSON, every other request a problem."""
    if "/sync-events" in route.request.url:
        return
    if "/subscriptions" in route.request.url:
        await route.fulfill(body="<html>Bad Gateway", content_type="text/html")
    else:
        problem = {"detail": "The database cannot be reached.", "docs": "problems/unavailable"}
        await route.fulfill(status=503, json=problem)


async def draw_all(service: Service, api: httpx.Client, database: Path, receiver: Receiver, chromium: str) -> None:
    """Draw before the history is written, after it, and while the API is broken."""
    pages = {page: page for page in PAGES}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which(chromium), args=ARGUMENTS)
        await draw_plain(browser, service)
        await draw(browser, service, "empty", pages | MORE)
        pages |= await asyncio.to_thread(write_history, api, database, receiver)
        await draw(browser, service, "busy", pages)
        await draw(browser, service, "broken", pages)
        await browser.close()


def main(chromium: str = "chromium") -> None:
    """Draw, with the browser that is named."""
    ALL.mkdir(parents=True, exist_ok=True)
    receiver = Receiver()
    settings = {"WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true", "WEBHOOK_PORTS": "0", "API_TITLE": "Sync Service"}
    with (
        tempfile.TemporaryDirectory() as folder,
        receiver.running(),
        running_service(Path(folder), **settings) as service,
        httpx.Client(base_url=service.url, headers=service.authorization, timeout=60) as api,
    ):
        asyncio.run(draw_all(service, api, Path(folder) / "demo.db", receiver, chromium))
    print(f"all pages are in {ALL}, those of the documentation in {DOCS}")


if __name__ == "__main__":
    main(*sys.argv[1:])
