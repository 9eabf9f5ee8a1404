"""Shares out the memory that large bodies may take at once in one process."""

import asyncio
from collections import deque


class BodyBudget:
    """So many bytes of bodies are read, parsed and written at once; further bodies wait for their turn, in order.

    A body that is larger than the whole budget takes all of it. Large bodies are parsed one at a time, under the lock
    `parsing`: several threads that compute would hold up the rest of the process for seconds.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._free_bytes = total_bytes
        self.parsing = asyncio.Lock()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size_bytes: int) -> int:
        """Wait until there is room, and return how much to give back."""
        size_bytes = min(size_bytes, self._total_bytes)
        if not self._waiting and size_bytes <= self._free_bytes:
            self._free_bytes -= size_bytes
            return size_bytes
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()  # those behind may have waited for this one alone
            else:
                self.give_back(size_bytes)
            raise
        return size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Make room for those who wait."""
        self._free_bytes += size_bytes
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free_bytes):
            size_bytes, turn = self._waiting.popleft()
            if not turn.done():
                self._free_bytes -= size_bytes
                turn.set_result(None)
