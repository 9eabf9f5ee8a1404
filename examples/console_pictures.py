"""Draws every page of the console on a believable history (`make screenshots`), into docs/ and build/console/."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
from demo_process import Service, running_service
from history import Receiver, write_history
from playwright.async_api import Page, async_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
ALL = Path(__file__).resolve().parents[1] / "build" / "console"
PAGES = ("overview", "ledger", "set-aside", "subscriptions", "consistency", "proof")
IN_DOCS = {"overview": "light", "ledger": "dark"}  # what README.md and docs/console.md show, and in which colours
SIZE = {"width": 1280, "height": 820}
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu")


async def draw(service: Service, opened: dict[str, str], chromium: str) -> None:
    """Draw all pages, light and dark, wide and narrow."""
    pages = {page: page for page in PAGES} | opened
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which(chromium), args=ARGUMENTS)
        for scheme in ("light", "dark"):
            for width in (SIZE["width"], 320):
                context = await browser.new_context(
                    base_url=service.url, viewport={"width": width, "height": SIZE["height"]}, color_scheme=scheme
                )
                page = await context.new_page()
                await _log_in(page, service.token)
                for name, fragment in pages.items():
                    await _show(page, fragment)
                    await page.screenshot(path=ALL / f"{name}-{scheme}-{width}.png")
                    if width == SIZE["width"] and IN_DOCS.get(name) == scheme:
                        await page.screenshot(path=DOCS / f"console-{name}.png")
                await context.close()
        await browser.close()


async def _log_in(page: Page, token: str) -> None:
    await page.goto("/console")
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")
    await page.get_by_role("navigation").wait_for()


async def _show(page: Page, fragment: str) -> None:
    await page.evaluate("fragment => { location.hash = `/${fragment}`; }", fragment)
    await page.locator("main h1").wait_for()
    await page.locator("[aria-busy]").first.wait_for(state="detached")
    await page.wait_for_timeout(600)  # charts, and what is drawn at most four times a second


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
        opened = write_history(api, Path(folder) / "demo.db", receiver)
        asyncio.run(draw(service, opened, chromium))
    print(f"all pages are in {ALL}, those of the documentation in {DOCS}")


if __name__ == "__main__":
    main(*sys.argv[1:])
