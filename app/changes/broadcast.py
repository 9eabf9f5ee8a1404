"""Encodes what is new once for all streams of the same filter."""

from collections.abc import Iterable
from typing import NamedTuple

from fastapi.sse import format_sse_event

from app.changes.change import Change
from app.changes.place import Place
from app.changes.tail import Tail
from app.changes.wanted import Wanted

CHUNK_BYTES = 32_768  # a stream is given no more at once, so that little waits for a slow reader
REMEMBERED_CHUNKS = 64
CHANGE_EVENT = "change"


class Chunk(NamedTuple):
    """Server-sent events with `changes` changes: all the wanted ones up to the position `through`."""

    data: bytes
    changes: int
    through: int


class Broadcast:
    """Streams that keep up ask for the same piece of the ring again and again: it is encoded for the first alone."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._version = 0
        self._chunks: dict[tuple[str, Wanted], Chunk] = {}

    def chunk_after(self, place: Place, wanted: Wanted) -> Chunk | None:
        """What the ring has after `place`, if anything; None when it does not reach back so far."""
        if not self._tail.up_to_date:
            return None
        if self._version != self._tail.version:
            self._version = self._tail.version
            self._chunks.clear()
        key = (place.cursor(), wanted)
        chunk = self._chunks.get(key)
        if chunk is None:
            changes = self._tail.list_after(place.cursors.ledger_id, place.position)
            if changes is None:
                return None
            chunk = encode_chunk(
                (one for one in changes if wanted.matches(one)),
                place.moved_to(max(place.position, self._tail.end)),
            )
            if len(self._chunks) < REMEMBERED_CHUNKS:
                self._chunks[key] = chunk
        return chunk


def encode_chunk(changes: Iterable[Change], end: Place) -> Chunk:
    """The first of `changes`, which are all there are up to `end`, as server-sent events."""
    parts: list[bytes] = []
    size, through = 0, end.position
    for change in changes:
        if size >= CHUNK_BYTES:
            through = change.position - 1
            break
        cursor = end.moved_to(change.position).cursor()
        parts.append(format_sse_event(data_str=change.json, event=CHANGE_EVENT, id=cursor))
        size += len(parts[-1])
    return Chunk(b"".join(parts), len(parts), through)
