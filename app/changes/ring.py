"""The newest changes of the ledger in memory, within a bound."""

import sys
from collections import deque
from collections.abc import Sequence
from itertools import islice

from app.changes.change import Change
from app.changes.cursor import are_of_different_events, tag_of

OVERHEAD_BYTES = 400  # what Python takes for a change beside its text


class Ring:
    """Every change after the position `start`, up to `end`; the oldest make room for new ones."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._changes: deque[Change] = deque()
        self.start = 0
        self.end = 0
        self._start_tag: bytes | None = None

    @property
    def end_tag(self) -> bytes | None:
        """The tag of the event at `end`."""
        return self._tag_at(self.end)

    def restart(self, position: int, event_tag: bytes | None) -> None:
        """Forget everything, and go on after `position`, where the event with this tag is."""
        self._changes.clear()
        self._bytes = 0
        self.start = self.end = position
        self._start_tag = event_tag

    def extend(self, changes: Sequence[Change]) -> None:
        """Add the changes that follow on `end`."""
        for change in changes:
            self._changes.append(change)
            self._bytes += _size(change)
            self.end = change.position
        while self._bytes > self._max_bytes:
            oldest = self._changes.popleft()
            self._bytes -= _size(oldest)
            self.start, self._start_tag = oldest.position, tag_of(oldest.event_id)

    def list_after(self, position: int, event_tag: bytes | None) -> Sequence[Change] | None:
        """Every change after `position`; None when not all of them are here, or another event is at `position`."""
        if not self.start <= position <= self.end or are_of_different_events(event_tag, self._tag_at(position)):
            return None
        return list(islice(self._changes, position - self.start, None))

    def _tag_at(self, position: int) -> bytes | None:
        return self._start_tag if position == self.start else tag_of(self._changes[position - self.start - 1].event_id)


def _size(change: Change) -> int:
    return sys.getsizeof(change.json) + OVERHEAD_BYTES
