"""Streams of server-sent events (HTML standard, section 9.2); what followers share is encoded once for all of them."""

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import lru_cache

from fastapi.sse import format_sse_event

from app.changes.cursor import ChangeFilter, Cursor, CursorRefused
from app.changes.feed import ChangeFeed, Page, cut_page
from app.changes.tail import Tail
from app.concurrency.fair_semaphore import ConcurrencyLimited
from app.database.errors import DatabaseUnavailable
from app.metrics import ChangeMetrics

CHUNK_BYTES = 32_768  # of changes handed to a stream in one piece, about, so that a slow reader buffers little
CACHED_CHUNKS = 64
CACHED_PAGES = 8  # each of about 1 MiB at most
FIRST_CHANGES = 10  # in the first read of a stream that is behind the ring, when their size is unknown
MAX_CHANGES = 100  # in one piece
OUTAGE_PAUSE_SECONDS = 1.0
RETRY_MILLISECONDS = (500, 1500)  # random, so that clients do not all reconnect together
RECONNECT_EVENT = "reconnect"
KEEP_ALIVE = "keep-alive"


class Broadcast:
    """Pages and chunks from the ring. Up-to-date followers ask for the same part of it, which is encoded once."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self._chunks = lru_cache(CACHED_CHUNKS)(self._make_page)
        self._pages = lru_cache(CACHED_PAGES)(self._make_page)

    def page_after(
        self, start: Cursor, change_filter: ChangeFilter, *, after: int, limit: int, max_bytes: int
    ) -> Page | None:
        """The changes in the ring after `start`, possibly none, as a page that begins after the position `after`.

        No change between `after` and `start` matches. None when the ring does not reach back to `start`.
        """
        if not self.tail.up_to_date:
            return None
        pages = self._chunks if max_bytes == CHUNK_BYTES else self._pages
        return pages(self.tail.version, start, change_filter, after, limit, max_bytes)

    def _make_page(
        self, _version: int, start: Cursor, change_filter: ChangeFilter, after: int, limit: int, max_bytes: int
    ) -> Page | None:
        tail = self.tail
        changes = tail.list_after(start.ledger_digest, start.position, start.event_tag)
        if changes is None:
            return None
        end = replace(start, position=tail.end, event_tag=tail.end_tag) if tail.end > start.position else start
        return cut_page(filter(change_filter.matches, changes), after, end, limit, max_bytes)


class ChangeStream:
    """Holds a cursor and buffers no changes: unsent ones remain in the ring or the database.

    A read of the database is a task, so that a hanging database delays neither keep-alives nor the end of the stream.
    `expires_at` and all other times are of the event loop's clock.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        broadcast: Broadcast,
        *,
        start: Cursor,
        change_filter: ChangeFilter,
        expires_at: float,
        keep_alive_seconds: float,
        metrics: ChangeMetrics,
    ) -> None:
        self._feed = feed
        self._tail = broadcast.tail
        self._broadcast = broadcast
        self._reached = start
        self._change_filter = change_filter
        self._expires_at = expires_at
        self._keep_alive_seconds = keep_alive_seconds
        self._breaks = broadcast.tail.breaks
        self._limit = FIRST_CHANGES
        self._reading: asyncio.Task[Page] | None = None
        self._sent = metrics.sent["stream"]
        self._now = asyncio.get_running_loop().time

    async def messages(self) -> AsyncIterator[bytes]:
        """Bytes to send, as soon as there are any; the consumer sets the pace."""
        yield format_sse_event(id=self._reached.encode(), retry=random.randint(*RETRY_MILLISECONDS))  # noqa: S311
        silent_until = self._now() + self._keep_alive_seconds
        try:
            while (reason := self._end_reason()) is None:
                try:
                    chunk = await self._next_chunk(min(silent_until, self._expires_at))
                except CursorRefused as error:
                    reason = error.code
                    break
                moved = chunk.end.position > self._reached.position
                self._reached = chunk.end
                if chunk.changes:
                    self._sent.inc(len(chunk.changes))
                    self._limit = _count_per_chunk(chunk)
                    yield chunk.messages
                elif self._now() >= silent_until:
                    yield format_sse_event(comment=KEEP_ALIVE, id=self._reached.encode())
                else:
                    if not moved:
                        await self._tail.wait(self._reached.position, min(silent_until, self._expires_at))
                    continue
                silent_until = self._now() + self._keep_alive_seconds
        finally:
            if self._reading is not None:
                self._reading.cancel()
        yield format_sse_event(
            event=RECONNECT_EVENT, data_str=json.dumps({"reason": reason}), id=self._reached.encode()
        )

    def _end_reason(self) -> str | None:
        if self._tail.closing:
            return "shutdown"
        return "token-expired" if self._now() >= self._expires_at else None

    async def _next_chunk(self, deadline: float) -> Page:
        """The next chunk; an empty one at `deadline`, while its read continues."""
        if self._reading is None:
            chunk = None
            if self._tail.breaks == self._breaks:
                chunk = self._broadcast.page_after(
                    self._reached,
                    self._change_filter,
                    after=self._reached.position,
                    limit=MAX_CHANGES,
                    max_bytes=CHUNK_BYTES,
                )
            if chunk is not None:
                return chunk
            self._reading = asyncio.create_task(self._read_on(), name="change-stream-read")
            self._reading.add_done_callback(_retrieve_error)
        await self._tail.wait_for(self._reading, deadline)
        if not self._reading.done():
            return self._empty()
        reading, self._reading = self._reading, None
        return reading.result()

    async def _read_on(self) -> Page:
        breaks = self._tail.breaks
        try:
            page = await self._feed.read(self._reached, self._change_filter, limit=self._limit)
        except (DatabaseUnavailable, ConcurrencyLimited):
            await self._tail.pause(OUTAGE_PAUSE_SECONDS)
            return self._empty()
        self._breaks = breaks  # set after the read, which has checked that the cursor is still valid
        return cut_page(page.changes, page.after, page.end, self._limit, CHUNK_BYTES)

    def _empty(self) -> Page:
        return Page((), self._reached.position, self._reached, self._reached.position)


def _count_per_chunk(chunk: Page) -> int:
    """How many changes of the average size in `chunk` fill one chunk, so that few are read twice."""
    return min(math.ceil(CHUNK_BYTES * len(chunk.changes) / len(chunk.messages)), MAX_CHANGES)


def _retrieve_error(reading: asyncio.Task[Page]) -> None:
    """Retrieve the error of a read whose stream has ended, so that asyncio does not log it."""
    if not reading.cancelled():
        reading.exception()
