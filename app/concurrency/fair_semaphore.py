"""Shares a scarce resource of one process fairly among callers, by the subjects of their tokens."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from app.errors import ProblemError, Unavailable

# Caller of the current task: a token's subject, "" for a caller without a token, None for the service itself.
caller: ContextVar[str | None] = ContextVar("caller", default=None)


class ConcurrencyLimited(ProblemError):
    """429; nothing was done."""

    status, code = 429, "concurrency-limited"

    def __init__(self, resource: str) -> None:
        super().__init__(
            f"Requests with tokens of this subject use its share of the {resource}; try again when some have ended.",
            headers={"Retry-After": "1"},
        )


class _Subject:
    """What one subject holds, and its requests that wait, oldest first: the units of each and its future."""

    def __init__(self) -> None:
        self.held = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()


class FairSemaphore:
    """A semaphore of `total` units, of which a request may acquire several together.

    - The share of a subject is an equal part of the total, counting the subjects that hold units or wait for some, and
      at most three quarters. Beyond its share a subject may use free units except the last quarter.
    - A request for more than the share is granted to a subject that holds nothing, and one for more than the total is
      granted the total.
    - Requests that wait are served round robin over subjects. The next subject within its share is never overtaken.
    - A wait ends after `timeout_seconds`: `on_reject` is called, and `ConcurrencyLimited` about the `resource` is
      raised when the subject holds its share, else `busy`.
    """

    def __init__(
        self,
        total: int,
        *,
        resource: str,
        busy: type[Unavailable],
        timeout_seconds: float,
        on_reject: Callable[[], None] = lambda: None,
    ) -> None:
        self._total = self._free = total
        self._kept = min(-(-total // 4), max(total - 1, 0))
        self._resource = resource
        self._busy = busy
        self._timeout_seconds = timeout_seconds
        self._on_reject = on_reject
        self._subjects: dict[str, _Subject] = {}
        self._queue: deque[_Subject] = deque()  # the subjects with requests that wait, in the order of their turns

    async def acquire(self, subject: str, amount: int = 1) -> "Permit":
        """Wait until `amount` units are granted to `subject`.

        Raises:
            ConcurrencyLimited: 429.
            Unavailable: 503, of the class `busy`.
        """
        amount = min(amount, max(self._total, 1))
        state = self._subjects.get(subject)
        if state is None:
            state = self._subjects[subject] = _Subject()
        if not self._queue and self._is_available(state, amount):
            self._take(state, amount)
        else:
            await self._wait(subject, state, amount)
        return Permit(self, subject, amount)

    @asynccontextmanager
    async def hold(self, subject: str) -> AsyncIterator[None]:
        """Hold a unit while the block runs; raises as `acquire`."""
        permit = await self.acquire(subject)
        try:
            yield
        finally:
            permit.release()

    def release(self, subject: str, amount: int) -> None:
        """Return `amount` units of `subject`; for its `Permit`."""
        self._subjects[subject].held -= amount
        self._free += amount
        self._grant()
        self._forget(subject)

    async def _wait(self, subject: str, state: _Subject, amount: int) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not state.waiting:
            self._queue.append(state)
        state.waiting.append((amount, waiter))
        self._grant()
        if waiter.done():
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await waiter
        except BaseException as error:
            is_own_fault = not self._is_within_share(state, amount)
            self._withdraw(subject, amount, waiter)
            if not isinstance(error, TimeoutError):
                raise
            self._on_reject()
            raise (ConcurrencyLimited(self._resource) if is_own_fault else self._busy()) from None

    def _grant(self) -> None:
        while (state := self._next()) is not None:
            self._queue.remove(state)
            amount, waiter = state.waiting.popleft()
            if state.waiting:
                self._queue.append(state)
            if not waiter.cancelled():
                self._take(state, amount)
                waiter.set_result(None)

    def _take(self, state: _Subject, amount: int) -> None:
        state.held += amount
        self._free -= amount

    def _next(self) -> _Subject | None:
        for state in self._queue:
            amount = state.waiting[0][0]
            if self._is_available(state, amount):
                return state
            if self._is_within_share(state, amount):
                return None
        return None

    def _is_within_share(self, state: _Subject, amount: int) -> bool:
        if not state.held:  # a subject whose only request was cancelled may be forgotten already
            return True
        share = min(self._total - self._kept, self._total // len(self._subjects))
        return state.held + amount <= share

    def _is_available(self, state: _Subject, amount: int) -> bool:
        kept = 0 if self._is_within_share(state, amount) else self._kept
        return self._free - amount >= kept

    def _withdraw(self, subject: str, amount: int, waiter: "asyncio.Future[None]") -> None:
        if not waiter.cancelled():  # it was granted together with the cancellation
            self.release(subject, amount)
            return
        state = self._subjects.get(subject)
        if state is not None and (amount, waiter) in state.waiting:
            state.waiting.remove((amount, waiter))
            if not state.waiting:
                self._queue.remove(state)
        self._forget(subject)
        self._grant()  # later ones may be next now

    def _forget(self, subject: str) -> None:
        state = self._subjects.get(subject)
        if state is not None and not state.held and not state.waiting:
            del self._subjects[subject]


class Permit:
    """The units of one request, until `release` is called; further calls do nothing."""

    def __init__(self, semaphore: FairSemaphore, subject: str, amount: int) -> None:
        self._semaphore = semaphore
        self._subject = subject
        self._amount = amount

    def release(self) -> None:
        amount, self._amount = self._amount, 0
        if amount:
            self._semaphore.release(self._subject, amount)
