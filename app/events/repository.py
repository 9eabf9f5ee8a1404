"""Queries over the ledger."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    func,
    inspect,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.types import among, among_ids
from app.errors import NotFound
from app.events.models import LedgerIdentity, RetryState, SyncEvent
from app.events.search import CURSOR

MAX_COUNT = 10_000

# A row with the attributes of `SyncEvent`, without the cost of an object that could be changed.
EventRow = Row[Any]
_EVENTS: Select[Any] = select(*(column.class_attribute.label(column.key) for column in inspect(SyncEvent).column_attrs))
_BY_ID = _EVENTS.where(SyncEvent.id == bindparam("event_id"))


class EventRepository:
    """Reads events, and gives set-aside ones back to the sweep.

    Nothing above the position `through` is listed, if there is one (`DurableWatermark`).
    """

    def __init__(self, session: AsyncSession | AsyncConnection, through: int | None = None) -> None:
        self._session = session
        self._through = [] if through is None else [SyncEvent.position <= through]

    async def get(self, event_id: UUID) -> EventRow:
        """The event with this id.

        Raises:
            NotFound: when there is none.
        """
        event: EventRow | None = (await self._session.execute(_BY_ID, {"event_id": event_id})).one_or_none()
        if event is None:
            raise NotFound("There is no event with this id.")
        return event

    async def list_by_ids(self, event_ids: Collection[UUID]) -> dict[UUID, EventRow]:
        """Those of the events with these ids that there are, by their ids."""
        rows = await self._session.execute(_EVENTS.where(among_ids(SyncEvent.id, event_ids)))
        return {row.id: row for row in rows}

    async def list_at(self, positions: Sequence[int]) -> Sequence[EventRow]:
        """The events at `positions`, by rising position."""
        query = _EVENTS.where(among(SyncEvent.position, positions)).order_by(SyncEvent.position)
        rows: Sequence[EventRow] = (await self._session.execute(query)).all()
        return rows

    async def file_is_known(self, file_id: UUID) -> bool:
        """Whether any event names the file."""
        query = select(SyncEvent.position).where(SyncEvent.file_id == file_id, *self._through).limit(1)
        return (await self._session.scalar(query)) is not None

    async def get_last_position(self, file_id: UUID) -> int:
        """The position of the last event that names the file; 0 when none does."""
        query = select(func.max(SyncEvent.position)).where(SyncEvent.file_id == file_id)
        return (await self._session.scalar(query)) or 0

    async def get_ledger_id(self) -> UUID:
        """The id of this ledger."""
        return (await self._session.execute(select(LedgerIdentity.ledger_id))).scalar_one()

    async def requeue(self, event_id: UUID) -> bool:
        """Give a set-aside event to the next sweep, with all its attempts again; false when it was not set aside."""
        query = (
            update(SyncEvent)
            .where(SyncEvent.id == event_id, SyncEvent.retry_state == RetryState.FAILED)
            .values(
                retry_state=RetryState.RETRYING, retry_at=SyncEvent.created_at, attempts=0
            )  # a time past on any clock
            .returning(SyncEvent.position)
        )
        return (await self._session.scalar(query)) is not None


def unprocessed_count(file_id: UUID) -> ColumnElement[int]:
    """How many events of the file wait for the sweep or are set aside, at most `MAX_COUNT`, as an expression."""
    of_file = select(SyncEvent.position).where(SyncEvent.file_id == file_id)
    # Both are ranges of indexes: after the sweep's cursor, and passed by it.
    pending = of_file.where(SyncEvent.position > CURSOR).limit(MAX_COUNT).subquery()
    passed = of_file.where(SyncEvent.retry_state.in_(RetryState)).limit(MAX_COUNT).subquery()
    both = union_all(select(pending), select(passed)).limit(MAX_COUNT).subquery()
    return select(func.count()).select_from(both).scalar_subquery()
