"""The sweep's reads and marks, all in the transaction of one batch."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import among, database_now
from app.events.models import LedgerHead, RetryState, SweepCursor, SyncEvent
from app.processing.handler import SweptEvent

_COLUMNS = (SyncEvent.id, SyncEvent.position, SyncEvent.file_id, SyncEvent.event_type, SyncEvent.attempts)


class SweepRepository:
    """What the sweep asks of the ledger."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def has_work(self, now: datetime) -> bool:
        """Whether any event is unswept or due for another attempt; takes no lock."""
        head, cursor = (select(table.position).scalar_subquery() for table in (LedgerHead, SweepCursor))
        due = exists(SyncEvent.position).where(_is_due(now))
        return bool(await self._session.scalar(select(or_(head > cursor, due))))

    async def lock_cursor(self) -> int | None:
        """Take the sweep until the transaction ends and return how far it got; None when another replica has it."""
        return await self._session.scalar(select(SweepCursor.position).with_for_update(skip_locked=True))

    async def list_due(self, now: datetime, limit: int) -> list[SweptEvent]:
        """Events that were passed and can be tried now, oldest first."""
        return await self._list(_is_due(now), limit)

    async def list_after(self, position: int, limit: int) -> list[SweptEvent]:
        """The next events after `position`, oldest first."""
        return await self._list(SyncEvent.position > position, limit)

    async def _list(self, condition: ColumnElement[bool], limit: int) -> list[SweptEvent]:
        query = select(*_COLUMNS).where(condition).order_by(SyncEvent.position).limit(limit)
        return [SweptEvent(*row) for row in await self._session.execute(query)]

    async def list_held_files(self, positions: Sequence[int], now: datetime) -> set[UUID]:
        """Files of the events at `positions` that have an earlier event whose next attempt is not due yet."""
        named = select(SyncEvent.file_id).where(among(SyncEvent.position, positions))
        query = select(SyncEvent.file_id).where(_is_delayed(SyncEvent, now), SyncEvent.file_id.in_(named)).distinct()
        return set((await self._session.scalars(query)).all())

    async def mark_processed(self, positions: Sequence[int]) -> None:
        """These events are done."""
        await self._mark(positions, processed=True, processed_at=database_now(), retry_state=None, retry_at=None)

    async def mark_waiting(self, positions: Sequence[int]) -> None:
        """These events wait for an earlier one of their file."""
        await self._mark(positions, retry_state=RetryState.WAITING, retry_at=None)

    async def mark_failed_attempt(self, position: int, *, attempts: int, error: str, retry_at: datetime | None) -> None:
        """Note the failed attempts so far; without a `retry_at` the event is set aside."""
        state = RetryState.FAILED if retry_at is None else RetryState.RETRYING
        await self._mark([position], attempts=attempts, last_error=error, retry_state=state, retry_at=retry_at)

    async def _mark(self, positions: Sequence[int], **values: Any) -> None:
        await self._session.execute(update(SyncEvent).where(among(SyncEvent.position, positions)).values(**values))

    async def advance_cursor(self, position: int) -> None:
        """Every event up to `position` is processed or marked."""
        await self._session.execute(update(SweepCursor).values(position=position))


def _is_delayed(event: type[SyncEvent], now: datetime) -> ColumnElement[bool]:
    return and_(event.retry_state == RetryState.RETRYING, event.retry_at > now)


def _is_due(now: datetime) -> ColumnElement[bool]:
    """A retry or a waiting event that no earlier event of its file holds back."""
    earlier = aliased(SyncEvent)
    held_back = exists(earlier.position).where(
        earlier.file_id == SyncEvent.file_id, earlier.position < SyncEvent.position, _is_delayed(earlier, now)
    )
    ready = or_(
        and_(SyncEvent.retry_state == RetryState.RETRYING, SyncEvent.retry_at <= now),
        SyncEvent.retry_state == RetryState.WAITING,
    )
    return and_(ready, ~held_back)
