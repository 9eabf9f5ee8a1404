"""The sweep: hands every unprocessed event to every handler, in order, exactly once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.database.errors import is_unavailable
from app.errors import describe
from app.processing.handler import Handler, SweptEvent
from app.processing.repository import SweepRepository
from app.processing.retry import next_attempt

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Outcome:
    """What became of a batch. `held_files` have an event in retry; what follows it in the file must wait."""

    held_files: set[UUID]
    processed: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    failed: list[tuple[SweptEvent, Exception]] = field(default_factory=list)


class Sweeper:
    """Sweeps in batches of one transaction each, so that a crash at any moment leaves either all of a batch or nothing.

    Replicas need no leader: whoever locks the cursor's row sweeps, the others find nothing to do.
    """

    def __init__(
        self,
        database: Database,
        handlers: Sequence[Handler],
        *,
        batch_size: int,
        max_attempts: int,
        retry_interval: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._retry_interval = retry_interval
        self._clock = clock

    async def run_once(self, stopping: asyncio.Event | None = None) -> int:
        """Drain the backlog and return the number of events taken up; stops between batches once `stopping` is set.

        Raises:
            DatabaseUnavailable: when the database can not serve; the batch under way is rolled back.
        """
        total = 0
        while not (stopping and stopping.is_set()):
            taken = await self.sweep_batch()
            total += taken
            if taken < self._batch_size:
                break
        return total

    async def sweep_batch(self) -> int:
        """Take up the next batch in one transaction and return its size; 0 when there is none or it is another's."""
        async with self._database.read() as session:
            if not await SweepRepository(session).has_work(self._clock()):
                return 0
        async with self._database.transaction() as session:
            return await self._sweep(session, SweepRepository(session))

    async def _sweep(self, session: AsyncSession, repository: SweepRepository) -> int:
        cursor = await repository.lock_cursor()
        if cursor is None:
            return 0
        now = self._clock()
        due = await repository.list_due(now, self._batch_size)
        fresh = await repository.list_after(cursor, self._batch_size - len(due))
        outcome = _Outcome(await repository.list_held_files([event.position for event in fresh], now))
        await self._apply(session, [*due, *fresh], outcome)
        await self._mark(repository, outcome, now)
        if fresh:
            await repository.advance_cursor(fresh[-1].position)
        return len(due) + len(fresh)

    async def _apply(self, session: AsyncSession, events: Sequence[SweptEvent], outcome: _Outcome) -> None:
        """Run the handlers over `events`; when they fail, over each half of them, down to the single culprits."""
        ready = [event for event in events if event.file_id not in outcome.held_files]
        outcome.waiting += [event.position for event in events if event.file_id in outcome.held_files]
        if not ready:
            return
        try:
            async with session.begin_nested():
                for handler in self._handlers:
                    await handler.handle(session, ready)
        except Exception as error:
            if is_unavailable(error):
                raise
            if len(ready) == 1:
                self._note_failure(ready[0], error, outcome)
                return
            middle = len(ready) // 2
            await self._apply(session, ready[:middle], outcome)
            await self._apply(session, ready[middle:], outcome)
        else:
            outcome.processed += [event.position for event in ready]

    def _note_failure(self, event: SweptEvent, error: Exception, outcome: _Outcome) -> None:
        outcome.failed.append((event, error))
        if event.attempts + 1 < self._max_attempts:
            outcome.held_files.add(event.file_id)

    async def _mark(self, repository: SweepRepository, outcome: _Outcome, now: datetime) -> None:
        if outcome.processed:
            await repository.mark_processed(outcome.processed)
        if outcome.waiting:
            await repository.mark_waiting(outcome.waiting)
        for event, error in outcome.failed:
            await self._mark_failure(repository, event, describe(error), now)

    async def _mark_failure(self, repository: SweepRepository, event: SweptEvent, error: str, now: datetime) -> None:
        attempts = event.attempts + 1
        details = {"event_id": str(event.id), "position": event.position, "attempts": attempts, "error": error}
        retry_at = None
        if attempts < self._max_attempts:
            retry_at = next_attempt(now, attempts, self._retry_interval)
            log.warning("event failed and will be retried", **details)
        else:
            log.error("event set aside", **details)
        await repository.mark_failed_attempt(event.position, attempts=attempts, error=error, retry_at=retry_at)
