"""Sends pages of JSON: what is being sent shares a bounded amount of memory, and large pages are sent in slices."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

import structlog
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from app.errors import ProblemError, describe
from app.http.middleware import ResponseCutOff

PAGE_BYTES = 2**20  # of the feed
SLICE_BYTES = 2**17  # of a list; with 1 MiB, 300 slow clients take 560 MiB instead of 210
LEAST_SLICE_BYTES = 2**16
SENT_BYTES = 24 * 2**20  # from here on slices have the least size
PIECE_BYTES = 2**16

log = structlog.get_logger(__name__)


class PageMemory:
    """The memory of what one process is sending. The less is free, the smaller are the slices that are read next.

    So no client waits for slow readers, however many they are.
    """

    def __init__(self) -> None:
        self._held_bytes = 0

    def slice_bytes(self, most: int = SLICE_BYTES) -> int:
        """The size that a slice may have now, at most `most`."""
        return min(most, max(LEAST_SLICE_BYTES, (SENT_BYTES - self._held_bytes) // 4))

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        self._held_bytes += size_bytes
        try:
            yield
        finally:
            self._held_bytes -= size_bytes


class PageResponse(Response):
    """JSON that is sent piece by piece, each once the client has taken most of the one before.

    The rest of a large page is read slice by slice, each once the one before is sent.
    """

    media_type = "application/json"

    def __init__(
        self,
        memory: PageMemory,
        first: bytes,
        rest: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(first, headers=headers)
        self._memory = memory
        self._rest = rest
        if rest is not None:
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; what a client that left does not take goes nowhere.

        Raises:
            ResponseCutOff: when a later slice cannot be read.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        part, self.body = bytes(self.body), b""
        while self._rest is not None:
            await self._send(part, send, more_body=True)
            if await Request(scope, receive).is_disconnected():
                return
            try:
                part = await anext(self._rest)
            except StopAsyncIteration:
                part, self._rest = b"", None
            except ProblemError as error:
                log.warning("page cut off", reason=describe(error.__cause__ or error))
                raise ResponseCutOff from error
        await self._send(part, send, more_body=False)

    async def _send(self, part: bytes, send: Send, *, more_body: bool) -> None:
        with self._memory.holding(len(part)):
            for start in range(0, max(len(part), 1), PIECE_BYTES):
                end = start + PIECE_BYTES
                more = more_body or end < len(part)
                await send({"type": "http.response.body", "body": part[start:end], "more_body": more})
