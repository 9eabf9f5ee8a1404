"""Limits the total weight of what one process does at once: the bytes of large bodies, the items of large pages."""

import asyncio
from collections import deque


class WeightedSemaphore:
    """A semaphore of `total` units. A request acquires several at once; requests that wait are served in order.

    A request for more than the total is granted the total.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, amount: int) -> int:
        """Wait until `amount` units are free, and return how many to release."""
        amount = min(amount, self._total)
        if not self._waiters and amount <= self._free:
            self._free -= amount
            return amount
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((amount, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._admit()  # later waiters may fit now
            else:
                self.release(amount)
            raise
        return amount

    def overdraw(self, amount: int) -> int:
        """Acquire without waiting; others wait until the units are released. Returns how many to release."""
        self._free -= amount
        return amount

    def release(self, amount: int) -> None:
        """Return `amount` units."""
        self._free += amount
        self._admit()

    def _admit(self) -> None:
        while self._waiters and (self._waiters[0][1].done() or self._waiters[0][0] <= self._free):
            amount, waiter = self._waiters.popleft()
            if not waiter.done():
                self._free -= amount
                waiter.set_result(None)


class BodySemaphore(WeightedSemaphore):
    """Limits the bytes of large bodies that are read, parsed and written at once.

    Large bodies are parsed one at a time, under the lock `parsing`: many in one iteration of the event loop, or several
    threads that compute, would delay the rest of the process for seconds.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.parsing = asyncio.Lock()
