"""The sweep's reads and marks, all in the transaction of one batch, and the times of further attempts."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.sql import write
from app.database.types import among, among_ids, database_now
from app.events.models import RetryState, SweepCursor, SyncEvent, head_position

MAX_DELAY = timedelta(minutes=5)  # before another attempt
CLOCK_SLACK = timedelta(seconds=1)  # between the clocks of two replicas
_DOUBLINGS = 30

_COLUMNS = (SyncEvent.id, SyncEvent.position, SyncEvent.file_id, SyncEvent.event_type, SyncEvent.attempts)


class SweptEvent(NamedTuple):
    """One event of a batch; `attempts` counts the failed ones."""

    id: UUID
    position: int
    file_id: UUID
    event_type: str
    attempts: int


class Hold(NamedTuple):
    """An event in retry, behind which the later events of its file wait."""

    position: int
    retry_at: datetime


class SweepRepository:
    """The statements of the sweep; `retry_interval` is the delay after the first failed attempt."""

    def __init__(self, session: AsyncSession, retry_interval: timedelta = MAX_DELAY) -> None:
        self._session = session
        self._retry_interval = retry_interval

    async def has_work(self, now: datetime) -> bool:
        """Whether any event is unswept or due for another attempt; takes no lock."""
        cursor = select(SweepCursor.position).scalar_subquery()
        due = exists(SyncEvent.position).where(self._is_due(now))
        return bool(await self._session.scalar(select(or_(head_position() > cursor, due))))

    async def lock_cursor(self) -> int | None:
        """Lock the sweep until the transaction ends, and return its position; None when another replica holds it."""
        return await self._session.scalar(select(SweepCursor.position).with_for_update(skip_locked=True))

    async def read_ahead(self) -> tuple[int, bool]:
        """The position of the newest event, and whether any event waits for another attempt."""
        retries = exists(SyncEvent.position).where(SyncEvent.retry_at.is_not(None))
        head, has_retries = (await self._session.execute(select(head_position(), retries))).one()
        return head, has_retries

    async def list_due(self, now: datetime, limit: int) -> list[SweptEvent]:
        """Events at or below the cursor that are due for another attempt, oldest first."""
        return await self._list(self._is_due(now), limit)

    async def list_after(self, position: int, limit: int) -> list[SweptEvent]:
        """The next events after `position`, oldest first."""
        return await self._list(SyncEvent.position > position, limit)

    def _is_due(self, now: datetime) -> ColumnElement[bool]:
        """Whether an event's time has come, or is further ahead than it can have been given."""
        is_retried = SyncEvent.retry_state == RetryState.RETRYING  # others wait for an earlier event of their file
        *by_attempts, last = latest_attempts(now, self._retry_interval)
        too_far = (
            and_(SyncEvent.retry_at > latest, SyncEvent.attempts == number, is_retried)
            for number, latest in enumerate(by_attempts, start=1)
        )
        return or_(SyncEvent.retry_at <= now, SyncEvent.retry_at > last, *too_far)

    async def list_at(self, positions: Sequence[int]) -> list[SweptEvent]:
        return await self._list(among(SyncEvent.position, positions), len(positions))

    async def _list(self, condition: ColumnElement[bool], limit: int) -> list[SweptEvent]:
        query = select(*_COLUMNS).where(condition).order_by(SyncEvent.position).limit(limit)
        return [SweptEvent(*row) for row in await self._session.execute(query)]

    async def list_holds(self, file_ids: Collection[UUID], now: datetime) -> dict[UUID, Hold]:
        """For each of the files that has an event in retry and not yet due: the first such event."""
        query = (
            select(SyncEvent.file_id, func.min(SyncEvent.position), func.max(SyncEvent.retry_at))
            .where(among_ids(SyncEvent.file_id, file_ids), SyncEvent.retry_at > now, not_(self._is_due(now)))
            .group_by(SyncEvent.file_id)
        )
        rows = await self._session.execute(query)
        return {file_id: Hold(position, at) for file_id, position, at in rows if at is not None}

    async def mark_processed(self, positions: Sequence[int]) -> None:
        await self._mark(positions, processed=True, processed_at=database_now(), retry_state=None, retry_at=None)

    async def mark_waiting(self, positions: Sequence[int], until: datetime) -> None:
        """Let these events wait for an earlier event of their file, which is retried at `until`."""
        await self._mark(positions, retry_state=RetryState.WAITING, retry_at=until)

    async def mark_failed_attempt(self, position: int, *, attempts: int, error: str, retry_at: datetime | None) -> None:
        """Record a failed attempt; without a `retry_at` the event is set aside."""
        state = RetryState.FAILED if retry_at is None else RetryState.RETRYING
        await self._mark([position], attempts=attempts, last_error=error, retry_state=state, retry_at=retry_at)

    async def _mark(self, positions: Sequence[int], **values: Any) -> None:
        await write(self._session, update(SyncEvent).where(among(SyncEvent.position, positions)).values(**values))

    async def advance_cursor(self, position: int) -> None:
        """Record that every event up to `position` is processed or marked."""
        await self._session.execute(update(SweepCursor).values(position=position))


def next_attempt(now: datetime, failed_attempts: int, interval: timedelta) -> datetime:
    """One sweep interval after the first failure, doubling with each further one, up to five minutes."""
    return now + min(interval * float(2 ** min(failed_attempts - 1, _DOUBLINGS)), MAX_DELAY)


def latest_attempts(now: datetime, interval: timedelta) -> list[datetime]:
    """After 1, 2, 3, … failed attempts: the latest time of the next one that can have been given by now.

    It ends with the first that has the longest delay, which holds for all further ones. A later time was given by a
    clock that has been set back since.
    """
    times: list[datetime] = []
    for failed_attempts in range(1, _DOUBLINGS + 2):
        times.append(next_attempt(now, failed_attempts, interval) + CLOCK_SLACK)
        if times[-1] == now + MAX_DELAY + CLOCK_SLACK:
            break
    return times
