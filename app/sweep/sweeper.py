"""The sweep: hands every unprocessed event to every handler, in order, exactly once."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable, connection_failed, ran_out_of_time, waited_for_lock
from app.errors import describe
from app.metrics import SweepMetrics
from app.sweep.repository import Hold, SweepRepository, SweptEvent, next_attempt
from app.tracing import traced

log = structlog.get_logger(__name__)


class Handler(Protocol):
    """Reacts to every event exactly once, within the transaction that marks it processed."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Process the events at `positions`, which rise; they are a `range` when they are consecutive.

        Work on all of them in a few statements (`among` selects them), or read them with `SweepRepository.list_at`.
        Runs in a savepoint: an exception undoes what was written, and the batch is split until the failing event is
        alone. Makes no network call, commits nothing and keeps nothing in memory, since the transaction may still roll
        back.
        """


class _Failure(NamedTuple):
    event: SweptEvent
    attempts: int
    error: str
    retry_at: datetime | None  # None: set aside


@dataclass(slots=True)
class _Outcome:
    """The result of a batch. `holds` are the files whose later events must wait."""

    holds: dict[UUID, Hold] = field(default_factory=dict)
    processed: Sequence[int] = ()
    waiting: defaultdict[datetime, list[int]] = field(default_factory=lambda: defaultdict(list))
    failed: list[_Failure] = field(default_factory=list)
    cursor: int = 0  # the new position of the sweep; 0: unchanged

    @property
    def events(self) -> int:
        return len(self.processed) + sum(map(len, self.waiting.values())) + len(self.failed)

    def hold_back(self, event: SweptEvent) -> bool:
        """Whether the event must wait; if so, it is added to `waiting`."""
        hold = self.holds.get(event.file_id)
        if hold is None or event.position <= hold.position:
            return False
        self.waiting[hold.retry_at].append(event.position)
        return True


class Sweeper:
    """Sweeps in batches of one transaction each, so that a crash at any moment leaves either all of a batch or nothing.

    Replicas need no leader: the replica that locks the cursor's row sweeps, the others find nothing to do.
    """

    def __init__(
        self,
        database: Database,
        handlers: Sequence[Handler],
        *,
        batch_size: int,
        max_attempts: int,
        retry_interval: timedelta,
        metrics: SweepMetrics | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_swept: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._on_swept = on_swept  # called after each commit of a batch
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._retry_interval = retry_interval
        self._metrics = metrics or SweepMetrics()
        self._clock = clock
        self._limit = batch_size
        self.last_pass_at: datetime | None = None

    async def run_once(self, stopping: asyncio.Event | None = None) -> int:
        """Process the backlog and return its number of events; stops between batches once `stopping` is set.

        Raises:
            DatabaseUnavailable: the database cannot serve; the current batch is rolled back.
        """
        try:
            total = await self._drain(stopping)
        except Exception:
            self._metrics.failures.inc()
            raise
        self.last_pass_at = self._clock()
        self._metrics.last_success.set_to_current_time()
        return total

    async def _drain(self, stopping: asyncio.Event | None) -> int:
        async with self._database.read() as session:
            if not await self._repository(session).has_work(self._clock()):
                return 0
        total = 0
        while not (stopping and stopping.is_set()):
            limit = self._limit
            taken = await self.sweep_batch()
            total += taken
            if taken < limit:
                break
        return total

    async def sweep_batch(self) -> int:
        """Process the next batch in one transaction; returns its size, 0 without events or when another replica sweeps.

        After a time-out of the database the next batch is half as large, down to one event.
        """
        started = time.perf_counter()
        try:
            async with self._database.transaction() as session:
                outcome = await self._sweep(session)
        except DatabaseUnavailable as error:
            if error.__cause__ is not None and ran_out_of_time(error.__cause__):
                self._limit = max(1, self._limit // 2)
            raise
        self._limit = min(self._batch_size, self._limit * 2)
        if outcome is None or not outcome.events:
            return 0
        self._report(outcome, time.perf_counter() - started)
        self._on_swept()
        return outcome.events

    def _repository(self, session: AsyncSession) -> SweepRepository:
        return SweepRepository(session, self._retry_interval)

    async def _sweep(self, session: AsyncSession) -> _Outcome | None:
        repository = self._repository(session)
        cursor = await repository.lock_cursor()
        if cursor is None:
            return None
        head, has_retries = await repository.read_ahead()
        fresh = range(cursor + 1, min(cursor + self._limit, head) + 1)
        if not fresh and not has_retries:
            return None
        with traced("sweep.batch") as span:
            if has_retries or await self._try_handlers(session, fresh):
                outcome = await self._sweep_apart(session, repository, cursor)
            else:
                outcome = _Outcome(processed=fresh, cursor=fresh[-1])
            await self._mark(repository, outcome)
            processed, failed = len(outcome.processed), len(outcome.failed)
            span.set_attributes({"sync.events": outcome.events, "sync.processed": processed, "sync.failed": failed})
        return outcome

    async def _sweep_apart(self, session: AsyncSession, repository: SweepRepository, cursor: int) -> _Outcome:
        """Read the events, hold back events that must wait, and find events that a handler refuses."""
        now = self._clock()
        due = await repository.list_due(now, self._limit)
        fresh = await repository.list_after(cursor, self._limit - len(due))
        events = [*due, *fresh]
        outcome = _Outcome(await repository.list_holds({event.file_id for event in events}, now))
        await self._apply(session, events, outcome, now)
        if fresh:
            outcome.cursor = fresh[-1].position
        return outcome

    async def _apply(
        self, session: AsyncSession, events: Sequence[SweptEvent], outcome: _Outcome, now: datetime
    ) -> None:
        """Run the handlers over `events`; when they fail, over each half, down to single failing events."""
        ready = [event for event in events if not outcome.hold_back(event)]
        if not ready:
            return
        positions = [event.position for event in ready]
        error = await self._try_handlers(session, positions)
        if error is None:
            outcome.processed = [*outcome.processed, *positions]
        elif len(ready) == 1:
            self._note_failure(ready[0], error, outcome, now)
        else:
            middle = len(ready) // 2
            await self._apply(session, ready[:middle], outcome, now)
            await self._apply(session, ready[middle:], outcome, now)

    async def _try_handlers(self, session: AsyncSession, positions: Sequence[int]) -> Exception | None:
        """Run the handlers in a savepoint; roll it back and return the error if they fail for a reason of their own."""
        savepoint = await session.begin_nested()
        try:
            for handler in self._handlers:
                await handler.handle(session, positions)
            await session.flush()
        except Exception as error:
            has_time_left = ran_out_of_time(error) and self._limit > 1
            if connection_failed(error) or waited_for_lock(error) or has_time_left:
                raise
            await savepoint.rollback()
            return error
        await savepoint.commit()
        return None

    def _note_failure(self, event: SweptEvent, error: Exception, outcome: _Outcome, now: datetime) -> None:
        attempts = event.attempts + 1
        retry_at = None
        if attempts < self._max_attempts:
            retry_at = next_attempt(now, attempts, self._retry_interval)
            outcome.holds[event.file_id] = Hold(event.position, retry_at)
        outcome.failed.append(_Failure(event, attempts, describe(error), retry_at))

    async def _mark(self, repository: SweepRepository, outcome: _Outcome) -> None:
        if outcome.processed:
            await repository.mark_processed(outcome.processed)
        for retry_at, positions in outcome.waiting.items():
            await repository.mark_waiting(positions, retry_at)
        for failure in outcome.failed:
            await repository.mark_failed_attempt(
                failure.event.position, attempts=failure.attempts, error=failure.error, retry_at=failure.retry_at
            )
        if outcome.cursor:
            await repository.advance_cursor(outcome.cursor)

    def _report(self, outcome: _Outcome, duration_seconds: float) -> None:
        self._metrics.batch_events.observe(outcome.events)
        self._metrics.batch_duration.observe(duration_seconds)
        for failure in outcome.failed:
            self._metrics.attempts_failed.inc()
            details = {"event_id": str(failure.event.id), "attempts": failure.attempts, "error": failure.error}
            if failure.retry_at is None:
                self._metrics.events_set_aside.inc()
                log.error("event set aside", **details)
            else:
                log.warning("event failed and will be retried", **details)
