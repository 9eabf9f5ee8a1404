"""Streams of server-sent events (HTML standard, section 9.2); what followers share is encoded once for all of them."""

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from fastapi.sse import format_sse_event

from app.changes.cursor import Change, ChangeFilter, Cursor, CursorRefused
from app.changes.feed import ChangeFeed, Page, cut_page
from app.changes.tail import Tail
from app.concurrency.fair_semaphore import ConcurrencyLimited
from app.database.errors import DatabaseUnavailable
from app.metrics import ChangeMetrics

CHUNK_BYTES = 32_768  # most bytes handed to a stream in one piece, so that a slow reader buffers little
CACHED_CHUNKS = 64
CACHED_PAGES = 8  # each of about 1 MiB at most
CHANGE_EVENT = "change"
FIRST_CHANGES = 10  # in the first read of a stream that is behind the ring, when their size is unknown
MAX_CHANGES = 100  # in a later read, when they are small
OUTAGE_PAUSE_SECONDS = 1.0
RETRY_MILLISECONDS = (500, 1500)  # random, so that clients do not all reconnect together
RECONNECT_EVENT = "reconnect"
KEEP_ALIVE = "keep-alive"


class Chunk(NamedTuple):
    """Server-sent events that hold `changes` changes: all matching ones up to `end`."""

    data: bytes
    changes: int
    end: Cursor


class Broadcast:
    """Pages and chunks from the ring. Up-to-date followers ask for the same part of it, which is encoded once."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self._chunks = lru_cache(CACHED_CHUNKS)(self._make_chunk)
        self._pages = lru_cache(CACHED_PAGES)(self._make_page)

    def chunk_after(self, start: Cursor, change_filter: ChangeFilter) -> Chunk | None:
        """The changes in the ring after `start`, possibly none; None when the ring does not reach back to `start`."""
        return self._chunks(self.tail.version, start, change_filter) if self.tail.up_to_date else None

    def page_after(
        self, start: Cursor, change_filter: ChangeFilter, *, after: int, limit: int, max_bytes: int
    ) -> Page | None:
        """The changes in the ring after `start`, as a page that begins after the position `after`.

        No change between `after` and `start` matches. None when the ring does not reach back to `start`.
        """
        if not self.tail.up_to_date:
            return None
        return self._pages(self.tail.version, start, change_filter, after, limit, max_bytes)

    def _make_chunk(self, _version: int, start: Cursor, change_filter: ChangeFilter) -> Chunk | None:
        changes = self._list_after(start, change_filter)
        return None if changes is None else encode_chunk(changes, self._end(start))

    def _make_page(
        self, _version: int, start: Cursor, change_filter: ChangeFilter, after: int, limit: int, max_bytes: int
    ) -> Page | None:
        changes = self._list_after(start, change_filter)
        return None if changes is None else cut_page(changes, after, self._end(start), limit, max_bytes)

    def _list_after(self, start: Cursor, change_filter: ChangeFilter) -> Iterable[Change] | None:
        changes = self.tail.list_after(start.ledger_digest, start.position, start.event_tag)
        return None if changes is None else filter(change_filter.matches, changes)

    def _end(self, start: Cursor) -> Cursor:
        end, event_tag = self.tail.end, self.tail.end_tag
        return replace(start, position=end, event_tag=event_tag) if end > start.position else start


def encode_chunk(changes: Iterable[Change], end: Cursor) -> Chunk:
    """Encode the first of `changes`, which are all matching ones up to `end`, as server-sent events."""
    parts: list[bytes] = []
    size, last = 0, end
    for change in changes:
        if size >= CHUNK_BYTES:
            return Chunk(b"".join(parts), len(parts), last)
        last = end.moved_to(change.position, change.event_id)
        parts.append(format_sse_event(data_str=change.json, event=CHANGE_EVENT, id=last.encode()))
        size += len(parts[-1])
    return Chunk(b"".join(parts), len(parts), end)


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
        self._reading: asyncio.Task[Chunk] | None = None
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
                    self._sent.inc(chunk.changes)
                    self._limit = _count_per_chunk(chunk)
                    yield chunk.data
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

    async def _next_chunk(self, deadline: float) -> Chunk:
        """The next chunk; an empty one at `deadline`, while its read continues."""
        if self._reading is None:
            if self._tail.breaks == self._breaks and (
                chunk := self._broadcast.chunk_after(self._reached, self._change_filter)
            ):
                return chunk
            self._reading = asyncio.create_task(self._read_on(), name="change-stream-read")
            self._reading.add_done_callback(_retrieve_error)
        await self._tail.wait_for(self._reading, deadline)
        if not self._reading.done():
            return Chunk(b"", 0, self._reached)
        reading, self._reading = self._reading, None
        return reading.result()

    async def _read_on(self) -> Chunk:
        breaks = self._tail.breaks
        try:
            page = await self._feed.read_on(self._reached, self._change_filter, limit=self._limit)
        except (DatabaseUnavailable, ConcurrencyLimited):
            await self._tail.pause(OUTAGE_PAUSE_SECONDS)
            return Chunk(b"", 0, self._reached)
        self._breaks = breaks  # set after the read, which has checked that the cursor is still valid
        return encode_chunk(page.changes, page.end)


def _count_per_chunk(chunk: Chunk) -> int:
    """How many changes of the average size in `chunk` fill one chunk, so that few are read twice."""
    return min(math.ceil(CHUNK_BYTES * chunk.changes / len(chunk.data)), MAX_CHANGES)


def _retrieve_error(reading: asyncio.Task[Chunk]) -> None:
    """Retrieve the error of a read whose stream has ended, so that asyncio does not log it."""
    if not reading.cancelled():
        reading.exception()
