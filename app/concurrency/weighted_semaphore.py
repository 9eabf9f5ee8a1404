"""Shares out what there is only so much of in one process: the memory of large bodies, the reading of large pages."""

import asyncio
from collections import deque


class Budget:
    """So much can be taken at once; who wants more than is free waits for their turn, in order.

    Who wants more than the whole takes all of it.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> int:
        """Wait until so much is free, and return how much to give back."""
        amount = min(amount, self._total)
        if not self._waiting and amount <= self._free:
            self._free -= amount
            return amount
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()  # those behind may have waited for this one alone
            else:
                self.give_back(amount)
            raise
        return amount

    def overdraw(self, amount: int) -> int:
        """Take without waiting, and let others wait until it is given back."""
        self._free -= amount
        return amount

    def give_back(self, amount: int) -> None:
        """Let those go on who wait."""
        self._free += amount
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= amount
                turn.set_result(None)


class BodyBudget(Budget):
    """The bytes of bodies that are read, parsed and written at once.

    Large bodies are parsed one at a time, under the lock `parsing`: many in one turn of the event loop, or several
    threads that compute, would hold up the rest of the process for seconds.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.parsing = asyncio.Lock()
