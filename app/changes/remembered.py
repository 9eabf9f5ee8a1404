"""What was made of the ring, for the others who ask for the same."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from app.changes.tail import Tail

T = TypeVar("T")


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
