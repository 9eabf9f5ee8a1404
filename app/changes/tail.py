"""Reads new events once for all long-lived requests of this process."""

import asyncio
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import structlog

from app.changes.cursor import EVERYTHING, Change, are_of_different_events, ledger_digest, tag_of
from app.changes.repository import ChangeRepository, FeedHead
from app.concurrency.shutdown import wait_or_cancel
from app.database.engine import Database
from app.errors import Unavailable, describe
from app.log.sparing import SparingLog
from app.metrics import ChangeMetrics

RING_BYTES = 8 * 2**20
BATCH_EVENTS = 1000
MAX_BEHIND_EVENTS = 5000  # farther behind, the ring restarts at the head; followers read the rest from the database
MAX_RETRY_SECONDS = 5.0
WOKEN_AT_ONCE = 20
CLOSE_SECONDS = 1
OVERHEAD_BYTES = 400  # memory of a change in addition to its text

log = structlog.get_logger(__name__)


class Ring:
    """The newest changes of the ledger: all after the position `start`, up to `end`, in at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._changes: deque[Change] = deque()
        self.start = 0
        self.end = 0
        self._start_tag: bytes | None = None

    @property
    def end_tag(self) -> bytes | None:
        return self._tag_at(self.end)

    def restart(self, position: int, event_tag: bytes | None) -> None:
        """Drop all changes, and continue after `position`, where the event with this tag is."""
        self._changes.clear()
        self._bytes = 0
        self.start = self.end = position
        self._start_tag = event_tag

    def extend(self, changes: Sequence[Change]) -> None:
        """Append the changes that follow `end`, and drop the oldest beyond the bound."""
        for change in changes:
            self._changes.append(change)
            self._bytes += _size(change)
            self.end = change.position
        while self._bytes > self._max_bytes:
            oldest = self._changes.popleft()
            self._bytes -= _size(oldest)
            self.start, self._start_tag = oldest.position, tag_of(oldest.event_id)

    def list_after(self, position: int, event_tag: bytes | None) -> Sequence[Change] | None:
        """All changes after `position`; None when some are not in the ring, or another event is at `position`."""
        if not self.start <= position <= self.end or are_of_different_events(event_tag, self._tag_at(position)):
            return None
        return list(islice(self._changes, position - self.start, None))

    def _tag_at(self, position: int) -> bytes | None:
        return self._start_tag if position == self.start else tag_of(self._changes[position - self.start - 1].event_id)


class Tail:
    """The newest events in a ring, which is kept up to date while a follower waits for more.

    A task repeats `run_once` every `poll_interval_seconds`. While the database is unavailable it retries with growing
    pauses, and followers keep waiting.
    """

    def __init__(
        self,
        database: Database,
        *,
        poll_interval_seconds: float,
        metrics: ChangeMetrics | None = None,
    ) -> None:
        self._database = database
        self._poll_interval_seconds = poll_interval_seconds
        self._metrics = metrics or ChangeMetrics()
        self._ring = Ring(RING_BYTES)
        self._ledger: bytes | None = None  # its digest
        self.up_to_date = False  # whether the last read reached the head, and a follower has waited since
        self.version = 0  # of the ring, raised by every change of it
        self.breaks = 0  # how often the ledger was replaced or had lost events that were read
        self._read_by_others = 0  # the highest position that a waiting follower has read, as of the current read
        self._waiting: dict[asyncio.Future[None], int] = {}  # with the position after which each waits
        self._needed = asyncio.Event()
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = SparingLog(__name__)
        self._task: asyncio.Task[None] | None = None

    @property
    def closing(self) -> bool:
        """Whether the process is stopping, so that followers must not wait."""
        return self._closed.done()

    @property
    def end(self) -> int:
        return self._ring.end

    @property
    def end_tag(self) -> bytes | None:
        return self._ring.end_tag

    def list_after(self, ledger: bytes, position: int, event_tag: bytes | None) -> Sequence[Change] | None:
        """All changes after `position` of the ledger with this digest; None when only the database has all of them.

        None also when the ring has another event at `position` than the one with this tag, or is not up to date: the
        ledger may have lost its last events since.
        """
        if not self.up_to_date or self._ledger != ledger:
            return None
        return [] if position > self._ring.end else self._ring.list_after(position, event_tag)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="change-reader")

    def close(self) -> None:
        """End all waits, and let later waits return immediately."""
        if not self.closing:
            self._closed.set_result(None)
        self._needed.set()
        _wake(self._waiting)

    async def stop(self) -> None:
        self.close()
        if self._task is not None:
            await wait_or_cancel(self._task, CLOSE_SECONDS)

    async def wait(self, after: int, deadline: float) -> None:
        """Return once the ring extends beyond the position `after`, at a break, on closing, or at `deadline`.

        The deadline is a time of the event loop's clock.
        """
        loop, breaks = asyncio.get_running_loop(), self.breaks
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not self.closing and breaks == self.breaks and not self._is_beyond(after):
                    waiter = loop.create_future()
                    self._waiting[waiter] = after
                    self._needed.set()
                    try:
                        await waiter
                    finally:
                        del self._waiting[waiter]

    def _is_beyond(self, position: int) -> bool:
        return self.up_to_date and self._ring.end > position

    async def pause(self, seconds: float) -> None:
        await asyncio.wait({self._closed}, timeout=seconds)

    async def wait_for(self, task: "asyncio.Task[Any]", deadline: float) -> None:
        """Return once `task` is done, on closing, or at `deadline`, a time of the event loop's clock."""
        seconds = deadline - asyncio.get_running_loop().time()
        await asyncio.wait({task, self._closed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def run_once(self) -> None:
        """Read new events, and wake all followers when the ring has changed.

        Raises:
            DatabaseUnavailable: when the database is unavailable.
        """
        version = self.version
        try:
            through = await self._database.watermark.bound()
            async with self._database.read() as session:
                await self._read(ChangeRepository(session, through))
        finally:
            if self.version != version:
                await self._wake_in_groups()

    async def _read(self, repository: ChangeRepository) -> None:
        self._read_by_others = max(self._waiting.values(), default=0)
        head = await repository.get_head(self._ring.end)
        if not self._continues(head):
            self._restart(head)
            return
        oldest = self._ring.end + 1
        while self._ring.end < head.position:
            end = self._ring.end
            changes, _ = await repository.list_after(EVERYTHING, after=end, head=head.position, limit=BATCH_EVENTS)
            if not changes or changes[0].position != end + 1:  # events were deleted
                self._restart(head)
                return
            self._ring.extend(changes)
            self.version += 1
        if oldest <= head.position:
            self._metrics.read_delay.observe(await repository.get_age_seconds(oldest))

    def _continues(self, head: FeedHead) -> bool:
        """Whether reading can continue from the end of the ring to `head`."""
        same = self.up_to_date and ledger_digest(head.ledger_id) == self._ledger and not self._has_lost_events(head)
        return same and head.position - self._ring.end <= MAX_BEHIND_EVENTS

    def _has_lost_events(self, head: FeedHead) -> bool:
        """Whether the ledger ends before a position that was read, or has another event at the end of the ring."""
        is_shorter = head.ledger_end < max(self._ring.end, self._read_by_others)
        return is_shorter or are_of_different_events(self._ring.end_tag, tag_of(head.asked_event_id))

    def _restart(self, head: FeedHead) -> None:
        ledger = ledger_digest(head.ledger_id)
        if self._ledger not in (None, ledger) or self._has_lost_events(head):
            self.breaks += 1
        self._ring.restart(head.position, tag_of(head.event_id))
        self._ledger = ledger
        self.up_to_date = True
        self.version += 1

    async def _wake_in_groups(self) -> None:
        """Wake all waiters, a few at a time: together they would delay every other request."""
        waiting = list(self._waiting)
        for start in range(0, len(waiting), WOKEN_AT_ONCE):
            _wake(waiting[start : start + WOKEN_AT_ONCE])
            await asyncio.sleep(0)

    async def _run(self) -> None:
        failures = 0
        while not self.closing:
            if not self._waiting:
                self.up_to_date = False
                self._needed.clear()
                await self._needed.wait()
            seconds = self._poll_interval_seconds
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001 - after any error followers wait for the next attempt
                self._note_failure(error, is_first=not failures)
                failures += 1
                seconds = min(seconds * 2.0 ** min(failures, 30), MAX_RETRY_SECONDS)
            else:
                if failures:
                    log.info("followers are served again", failures=failures)
                failures = 0
            await self.pause(seconds)

    def _note_failure(self, error: Exception, *, is_first: bool) -> None:
        self._metrics.reader_failures.inc()
        if not isinstance(error, Unavailable):
            self._log.error("reading new events failed", exc_info=error)
        elif is_first:
            log.warning("followers wait for the database", reason=describe(error.__cause__ or error))


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiting:
        if not waiter.done():
            waiter.set_result(None)


def _size(change: Change) -> int:
    return sys.getsizeof(change.json) + OVERHEAD_BYTES
