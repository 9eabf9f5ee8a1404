"""Bounds the large pages that are under way at once in one process, and sends them piece by piece."""

from collections.abc import Callable

from fastapi import Response

from app.concurrency.fair_semaphore import FairSemaphore, Permit, caller
from app.errors import Unavailable
from app.http.middleware import Receive, Scope, Send

FREE_ITEMS = 10  # a page of so many needs no permit
LARGE_PAGES = 8
PIECE_BYTES = 65_536


class TooManyLargePages(Unavailable):
    """503; nothing was read."""

    code = "too-many-large-pages"
    detail = f"Too many large pages are under way; try again, or ask for at most {FREE_ITEMS} items."


class LargePages(FairSemaphore):
    """Large pages are under way from the read until the last byte is sent or the client has disconnected."""

    def __init__(self, timeout_seconds: float, on_reject: Callable[[], None]) -> None:
        super().__init__(
            LARGE_PAGES,
            resource="large pages under way",
            busy=TooManyLargePages,
            timeout_seconds=timeout_seconds,
            on_reject=on_reject,
        )


class PagePermit:
    """The permit of one request, once it reads a large page."""

    def __init__(self, large_pages: LargePages) -> None:
        self._large_pages = large_pages
        self._permit: Permit | None = None

    async def acquire(self, items: int) -> None:
        """Wait for the permit if a page of `items` needs one.

        Raises:
            ConcurrencyLimited: 429.
            TooManyLargePages: 503.
        """
        if items > FREE_ITEMS and self._permit is None:
            self._permit = await self._large_pages.acquire(caller.get() or "")

    def release(self) -> None:
        """Leave the permit to others."""
        if self._permit is not None:
            self._permit.release()
            self._permit = None


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
