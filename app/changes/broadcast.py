"""Encodes changes from the ring once for all followers with the same feed position and filter."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from fastapi.sse import format_sse_event

from app.changes.change import Change, ChangeFilter
from app.changes.cursor import FeedPosition
from app.changes.feed import Page
from app.changes.repository import MAX_CHARACTERS
from app.changes.tail import Tail

CHUNK_BYTES = 32_768  # most bytes handed to a stream at once, so that a slow reader buffers little
CACHED_CHUNKS = 64
CACHED_PAGES = 8  # each of about `MAX_CHARACTERS` at most
CHANGE_EVENT = "change"

T = TypeVar("T")


class Chunk(NamedTuple):
    """Server-sent events that hold `changes` changes: all matching ones up to `end`."""

    data: bytes
    changes: int
    end: FeedPosition


class RingCache(Generic[T]):
    """At most `limit` values computed from the ring; a change of the ring clears the cache."""

    def __init__(self, tail: Tail, limit: int) -> None:
        self._tail = tail
        self._limit = limit
        self._version = tail.version
        self._made: dict[Hashable, T] = {}

    def get(self, key: Hashable, make: Callable[[], T | None]) -> T | None:
        """The cached value of `key`, else the value of `make`, which is cached while there is space.

        None when `make` returns None, or when the ring is not up to date.
        """
        if not self._tail.up_to_date:
            return None
        if self._version != self._tail.version:
            self._version = self._tail.version
            self._made.clear()
        made = self._made.get(key)
        if made is None:
            made = make()
            if made is not None and len(self._made) < self._limit:
                self._made[key] = made
        return made


class Broadcast:
    """Pages and chunks from the ring. Up-to-date followers ask for the same part of it, which is encoded once."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._chunks = RingCache[Chunk](tail, CACHED_CHUNKS)
        self._pages = RingCache[Page](tail, CACHED_PAGES)

    def chunk_after(self, start: FeedPosition, change_filter: ChangeFilter) -> Chunk | None:
        """The changes in the ring after `start`, possibly none; None when the ring does not reach back to `start`."""

        def make() -> Chunk | None:
            changes = self._list_after(start, change_filter)
            return None if changes is None else encode_chunk(changes, self._end(start))

        return self._chunks.get((start.cursor(), change_filter), make)

    def page_after(self, start: FeedPosition, change_filter: ChangeFilter, *, after: int, limit: int) -> Page | None:
        """The changes in the ring after `start`, as a page that begins after the position `after`.

        No change between `after` and `start` matches. None when the ring does not reach back to `start`."""

        def make() -> Page | None:
            changes = self._list_after(start, change_filter)
            return None if changes is None else cut_page(changes, after, self._end(start), limit)

        return self._pages.get((start.cursor(), change_filter, after, limit), make)

    def _list_after(self, start: FeedPosition, change_filter: ChangeFilter) -> Iterable[Change] | None:
        changes = self._tail.list_after(start.cursors.ledger_id, start.position, start.event_tag)
        return None if changes is None else filter(change_filter.matches, changes)

    def _end(self, start: FeedPosition) -> FeedPosition:
        end, event_tag = self._tail.end, self._tail.end_tag
        return replace(start, position=end, event_tag=event_tag) if end > start.position else start


def encode_chunk(changes: Iterable[Change], end: FeedPosition) -> Chunk:
    """Encode the first of `changes`, which are all matching ones up to `end`, as server-sent events."""
    parts: list[bytes] = []
    size, last = 0, end
    for change in changes:
        if size >= CHUNK_BYTES:
            return Chunk(b"".join(parts), len(parts), last)
        last = end.moved_to(change.position, change.event_id)
        parts.append(format_sse_event(data_str=change.json, event=CHANGE_EVENT, id=last.cursor()))
        size += len(parts[-1])
    return Chunk(b"".join(parts), len(parts), end)


def cut_page(changes: Iterable[Change], after: int, end: FeedPosition, limit: int) -> Page:
    """A page of the first `limit` of `changes`, which are all matching ones up to `end`.

    It ends early with the change that makes it `MAX_CHARACTERS` or longer.
    """
    some: list[Change] = []
    size = 0
    for change in changes:
        if len(some) == limit or size >= MAX_CHARACTERS:
            return Page(some, after, end.moved_to(some[-1].position, some[-1].event_id), end.position)
        some.append(change)
        size += len(change.json)
    return Page(some, after, end, end.position)
