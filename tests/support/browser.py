"""A real Chromium, and what it must not do while it shows our pages."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium was found (install Debian's `chromium`, or name the binary in CHROMIUM)"
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """The path of the browser: what `CHROMIUM` names, else the first of the usual names that is in PATH."""
    names = [name for name in (os.environ.get("CHROMIUM"),) if name] or NAMES
    return next((path for path in map(shutil.which, names) if path), None)


class Watch:
    """Notes every request of `page` that leaves `origin`, and everything that goes wrong in it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.complaints: list[str] = []
        self._own = (f"{origin}/", f"blob:{origin}/", "data:")
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failed_request)
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(self._own):
            self.complaints.append(f"outside request: {request.url}")

    def _on_failed_request(self, request: Request) -> None:
        self.complaints.append(f"failed request: {request.url}: {request.failure}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"console {message.type}: {message.text}")

    def _on_error(self, error: Error) -> None:
        self.complaints.append(f"uncaught error: {error}")


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """A browser.

    Raises:
        RuntimeError: when there is none.
    """
    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError(MISSING)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def watched_page(browser: Browser, origin: str) -> AsyncIterator[Page]:
    """A page with cookies and a storage of its own.

    Raises:
        AssertionError: at the end, when the page loaded anything from elsewhere than `origin` or reported an error.
    """
    async with await browser.new_context(base_url=origin, viewport={"width": 1280, "height": 1000}) as context:
        page = await context.new_page()
        watch = Watch(page, origin)
        yield page
        # What is still under way fails when the page is closed.
        assert watch.complaints == []
