"""Bounds what pages take at once in one process: while they are read, and until they are sent."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Response

from app.concurrency.weighted_semaphore import WeightedSemaphore
from app.errors import Unavailable
from app.http.middleware import Receive, Scope, Send

FREE_ITEMS = 10  # a page of so many needs no place
READ_ITEMS = 2000
SENT_BYTES = 16_777_216
PIECE_BYTES = 65_536


class TooManyLargePages(Unavailable):
    """503; nothing was read."""

    code = "too-many-large-pages"
    detail = f"Too many large pages are under way; try again, or ask for at most {FREE_ITEMS} items."


class Pages:
    """2000 items are read at once, and new ones only while less than 16 MiB are being sent.

    So a turn of the event loop stays short, and clients that read slowly take a bounded amount of memory.
    `on_reject` is called for each request that waits `timeout_seconds` for a place in vain.
    """

    def __init__(self, timeout_seconds: float, on_reject: Callable[[], None]) -> None:
        self._timeout_seconds = timeout_seconds
        self._on_reject = on_reject
        self.reading = WeightedSemaphore(READ_ITEMS)
        self.sending = WeightedSemaphore(SENT_BYTES)

    @contextmanager
    def place(self) -> Iterator["PagePlace"]:
        """A place for one request, which is free again with the end of the block."""
        place = PagePlace(self)
        try:
            yield place
        finally:
            place.give_back()

    def time_limit(self) -> asyncio.Timeout:
        """For what one request waits."""
        return asyncio.timeout(self._timeout_seconds)

    def reject(self) -> TooManyLargePages:
        """Count a request that waited in vain, and say why."""
        self._on_reject()
        return TooManyLargePages()


class PagePlace:
    """The place of one request, once it has one."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._items = 0
        self._bytes = 0

    async def take(self, items: int) -> None:
        """Wait, in order of asking, for the place to read a page of `items`.

        Raises:
            TooManyLargePages: 503.
        """
        if items <= FREE_ITEMS or self._bytes:
            return
        try:
            async with self._pages.time_limit():
                self._items = await self._pages.reading.acquire(items)
                # Only then: while many waited to read, those before them may have filled the room for sending.
                self._bytes = await self._pages.sending.acquire(1)
        except TimeoutError:
            self.give_back()
            raise self._pages.reject() from None

    def fill(self, page: bytes) -> bytes:
        """The page is read: let others read, and count its bytes until the place is given back."""
        if self._bytes:
            self._bytes += self._pages.sending.overdraw(len(page))
            self._stop_reading()
        return page

    def give_back(self) -> None:
        """Leave the place to others."""
        self._stop_reading()
        self._pages.sending.release(self._bytes)
        self._bytes = 0

    def _stop_reading(self) -> None:
        self._pages.reading.release(self._items)
        self._items = 0


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
