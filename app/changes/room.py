"""Bounds how many followers stay connected at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.changes.errors import TooManyFollowers
from app.metrics import ChangeMetrics


class Room:
    """There are `limit` places; `on_reject` is called for each follower that finds none."""

    def __init__(self, limit: int, metrics: ChangeMetrics, on_reject: Callable[[], None]) -> None:
        self._limit = limit
        self._taken = 0
        self._metrics = metrics
        self._on_reject = on_reject

    @contextmanager
    def place(self, kind: str) -> Iterator[None]:
        """A place for a `stream` or a `long_poll` while the block runs.

        Raises:
            TooManyFollowers: 503.
        """
        if self._taken >= self._limit:
            self._on_reject()
            raise TooManyFollowers
        self._taken += 1
        self._metrics.followers[kind].inc()
        try:
            yield
        finally:
            self._taken -= 1
            self._metrics.followers[kind].dec()
