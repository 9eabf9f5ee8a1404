"""Makes of the ring what followers that keep up are given: once for all who ask for the same."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from fastapi.sse import format_sse_event

from app.changes.change import Change, Wanted
from app.changes.cursor import Place
from app.changes.feed import Page
from app.changes.repository import MAX_CHARACTERS
from app.changes.tail import Tail

CHUNK_BYTES = 32_768  # a stream is given no more at once, so that little waits for a slow reader
REMEMBERED_CHUNKS = 64
REMEMBERED_PAGES = 8  # of about `MAX_CHARACTERS` at most
CHANGE_EVENT = "change"

T = TypeVar("T")


class Chunk(NamedTuple):
    """Server-sent events with `changes` changes: all the wanted ones up to `end`."""

    data: bytes
    changes: int
    end: Place


class Remembered(Generic[T]):
    """At most `limit` things that were made of the ring as it is now; the next change of it forgets them."""

    def __init__(self, tail: Tail, limit: int) -> None:
        self._tail = tail
        self._limit = limit
        self._version = tail.version
        self._made: dict[Hashable, T] = {}

    def get(self, key: Hashable, make: Callable[[], T | None]) -> T | None:
        """What `make` gives, which is called once for each `key` unless there are too many; None when it gives none."""
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
    """Followers that keep up ask for the same piece of the ring again and again: it is encoded for the first alone."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._chunks = Remembered[Chunk](tail, REMEMBERED_CHUNKS)
        self._pages = Remembered[Page](tail, REMEMBERED_PAGES)

    def chunk_after(self, place: Place, wanted: Wanted) -> Chunk | None:
        """What the ring has after `place`, if anything; None when it does not reach back so far."""

        def make() -> Chunk | None:
            changes = self._list_after(place, wanted)
            return None if changes is None else encode_chunk(changes, self._end(place))

        return self._chunks.get((place.cursor(), wanted), make)

    def page_after(self, place: Place, wanted: Wanted, *, after: int, limit: int) -> Page | None:
        """The same as a page that begins after the position `after`, up to which there is nothing before `place`."""

        def make() -> Page | None:
            changes = self._list_after(place, wanted)
            return None if changes is None else cut_page(changes, after, self._end(place), limit)

        return self._pages.get((place.cursor(), wanted, after, limit), make)

    def _list_after(self, place: Place, wanted: Wanted) -> Iterable[Change] | None:
        changes = self._tail.list_after(place.cursors.ledger_id, place.position, place.event_tag)
        return None if changes is None else filter(wanted.matches, changes)

    def _end(self, place: Place) -> Place:
        end, event_tag = self._tail.end, self._tail.end_tag
        return replace(place, position=end, event_tag=event_tag) if end > place.position else place


def encode_chunk(changes: Iterable[Change], end: Place) -> Chunk:
    """The first of `changes`, which are all there are up to `end`, as server-sent events."""
    parts: list[bytes] = []
    size, last = 0, end
    for change in changes:
        if size >= CHUNK_BYTES:
            return Chunk(b"".join(parts), len(parts), last)
        last = end.moved_to(change.position, change.event_id)
        parts.append(format_sse_event(data_str=change.json, event=CHANGE_EVENT, id=last.cursor()))
        size += len(parts[-1])
    return Chunk(b"".join(parts), len(parts), end)


def cut_page(changes: Iterable[Change], after: int, end: Place, limit: int) -> Page:
    """The first of `changes`, which are all there are up to `end`: `limit`, or up to `MAX_CHARACTERS` and one more."""
    some: list[Change] = []
    size = 0
    for change in changes:
        if len(some) == limit or size >= MAX_CHARACTERS:
            return Page(some, after, end.moved_to(some[-1].position, some[-1].event_id), end.position)
        some.append(change)
        size += len(change.json)
    return Page(some, after, end, end.position)
