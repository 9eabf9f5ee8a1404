"""The newest changes of the ledger in memory, within a bound."""

import sys
from collections import deque
from collections.abc import Sequence
from itertools import islice

from app.changes.change import Change

OVERHEAD_BYTES = 300  # what Python takes for a change beside its text


class Ring:
    """Every change after the position `start`, up to `end`; the oldest make room for new ones."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._changes: deque[Change] = deque()
        self.start = 0
        self.end = 0

    def restart(self, position: int) -> None:
        """Forget everything, and go on after `position`."""
        self._changes.clear()
        self._bytes = 0
        self.start = self.end = position

    def extend(self, changes: Sequence[Change]) -> None:
        """Add the changes that follow on `end`."""
        for change in changes:
            self._changes.append(change)
            self._bytes += _size(change)
            self.end = change.position
        while self._bytes > self._max_bytes:
            oldest = self._changes.popleft()
            self._bytes -= _size(oldest)
            self.start = oldest.position

    def list_after(self, position: int) -> Sequence[Change] | None:
        """Every change after `position`; None when not all of them are here."""
        if not self.start <= position <= self.end:
            return None
        return list(islice(self._changes, position - self.start, None))


def _size(change: Change) -> int:
    return sys.getsizeof(change.json) + OVERHEAD_BYTES
