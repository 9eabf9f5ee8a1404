"""One timer for all appends that wait: they wait equally long, so they are late in the order in which they came."""

import asyncio
from collections import deque

from app.errors import Unavailable
from app.events.group import Append


class CommitTooLate(Unavailable):
    """503: the commit did not come in time; it may still come."""

    detail = "The event was not committed in time, and may still be; try again with the same Idempotency-Key."


class Deadlines:
    """Refuses an append that is not answered after `timeout_seconds`. A timer for each would be a tenth of its cost."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[tuple[float, Append]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, append: Append) -> None:
        """Give `append` its time, from now on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        self._waiting.append((deadline, append))
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._refuse_late)

    def forget_answered(self) -> None:
        """Hold on to no append that is answered, but for those behind one that is not."""
        while self._waiting and self._waiting[0][1].abandoned:
            self._waiting.popleft()

    def close(self) -> None:
        """Refuse whoever still waits, and leave no timer behind."""
        while self._waiting:
            self._waiting.popleft()[1].refuse(CommitTooLate())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_late(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            self._waiting.popleft()[1].refuse(CommitTooLate())
        self.forget_answered()
        self._timer = loop.call_at(self._waiting[0][0], self._refuse_late) if self._waiting else None
