"""Bounds how many large pages are read, encoded and sent at once in one process."""

import asyncio
from collections.abc import Callable

from fastapi import Response

from app.errors import Unavailable
from app.http.middleware import Receive, Scope, Send

FREE_ITEMS = 100  # a page of so many needs no place
PLACES = 4
PIECE_BYTES = 65_536


class TooManyLargePages(Unavailable):
    """503; nothing was read."""

    code = "too-many-large-pages"
    detail = f"Too many large pages are being read; try again, or ask for at most {FREE_ITEMS} items."


class LargePages:
    """There are a few places; `on_reject` is called for each request that waits `timeout_seconds` for one in vain."""

    def __init__(self, timeout_seconds: float, on_reject: Callable[[], None]) -> None:
        self._timeout_seconds = timeout_seconds
        self._on_reject = on_reject
        self._free = asyncio.Semaphore(PLACES)
        self.give_back = self._free.release

    async def take(self) -> None:
        """Wait for a place, in order of asking.

        Raises:
            TooManyLargePages: 503.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._free.acquire()
        except TimeoutError:
            self._on_reject()
            raise TooManyLargePages from None


class PagePlace:
    """The place of one request, once it has one."""

    def __init__(self, pages: LargePages) -> None:
        self._pages = pages
        self._taken = False

    async def take(self, items: int) -> None:
        """Wait for a place if a page of `items` needs one.

        Raises:
            TooManyLargePages: 503.
        """
        if items > FREE_ITEMS and not self._taken:
            await self._pages.take()
            self._taken = True

    def give_back(self) -> None:
        """Leave the place to others."""
        if self._taken:
            self._taken = False
            self._pages.give_back()


class PageResponse(Response):
    """JSON that is sent piece by piece, each once the client has taken most of the one before."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - so ASGI has it
        """Send it; what a client that left does not take goes nowhere."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), PIECE_BYTES):
            end = start + PIECE_BYTES
            piece = self.body[start:end]
            await send({"type": "http.response.body", "body": piece, "more_body": end < len(self.body)})
