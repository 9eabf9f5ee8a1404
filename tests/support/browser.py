"""A real Chromium, and what it must not do while it shows our pages."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, async_playwright, expect

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium was found (install Debian's `chromium-headless-shell`, or name the binary in CHROMIUM)"
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
PATIENCE = 60_000  # milliseconds, of every wait: where other tests run beside, a page is slow
ABORTED = "net::ERR_ABORTED"  # what a page has asked for and does not want any more when it is left
EMPTY_STORAGE = "try { localStorage.clear(); sessionStorage.clear(); } catch {}"


def find_chromium() -> str | None:
    """The path of the browser: what `CHROMIUM` names, else the first of the usual names that is in PATH."""
    names = [name for name in (os.environ.get("CHROMIUM"),) if name] or NAMES
    return next((path for path in map(shutil.which, names) if path), None)


class Watch:
    """Notes every request of `page`, those that leave `origins`, and everything that goes wrong in it."""

    def __init__(self, page: Page, *origins: str) -> None:
        self.requests: list[Request] = []
        self.outside: list[str] = []
        self.complaints: list[str] = []
        self._page = page
        self._own = (*(f"{scheme}{origin}/" for origin in origins for scheme in ("", "blob:")), "data:")
        self._listeners: dict[Any, Any] = {
            "request": self._on_request,
            "requestfailed": self._on_failed_request,
            "console": self._on_console,
            "pageerror": self._on_error,
        }
        for event, listener in self._listeners.items():
            page.on(event, listener)

    def stop(self) -> None:
        """Note nothing from now on."""
        for event, listener in self._listeners.items():
            self._page.remove_listener(event, listener)

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)
        if not request.url.startswith(self._own):
            self.outside.append(request.url)

    def _on_failed_request(self, request: Request) -> None:
        if request.failure != ABORTED:
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
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def open_page(browser: Browser, origin: str, **options: Any) -> AsyncIterator[Page]:
    """A page with cookies and a storage of its own. It costs a second: tests share one, each with `watched`."""
    async with await browser.new_context(base_url=origin, **options) as context:
        context.set_default_timeout(PATIENCE)
        yield await context.new_page()


@asynccontextmanager
async def watched(page: Page, *origins: str, strict: bool = True, stays: bool = False) -> AsyncIterator[Watch]:
    """What goes wrong in `page`, which at the end is as if it was new, unless it `stays` where the block has led.

    Raises:
        AssertionError: at the end, when it loaded anything from elsewhere than `origins` or, where `strict`, reported
            an error.
    """
    watch = Watch(page, *origins)
    may_stay = False
    try:
        yield watch
        may_stay = stays
    finally:
        watch.stop()
        await page.unroute_all(behavior="ignoreErrors")
        await page.evaluate(EMPTY_STORAGE)
        if not may_stay:
            await page.goto("about:blank")
    assert watch.outside == []
    assert not strict or watch.complaints == [], watch.complaints
