"""Queries over the ledger."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, case, func, inspect, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.types import among, among_ids
from app.errors import NotFound, OtherCount
from app.events.listing import EVENT_JSON
from app.events.models import LedgerIdentity, RetryState, SyncEvent
from app.events.schemas import RequeueFilter
from app.events.search import CURSOR, Range, Search
from app.http.types import MAX_POSITION

MAX_COUNT = 10_000
MAX_GROUPS = 100
MAX_GROUPED = 100_000  # set-aside events that are looked at
MAX_NEXT = 10_000  # events of one bulk request

# A row with the attributes of `SyncEvent`, without the cost of an object that could be changed.
EventRow = Row[Any]
_EVENTS: Select[Any] = select(*(column.class_attribute.label(column.key) for column in inspect(SyncEvent).column_attrs))
_REQUEUED: dict[Any, Any] = {
    SyncEvent.retry_state: RetryState.RETRYING,
    SyncEvent.retry_at: SyncEvent.created_at,  # a time past on any clock
    SyncEvent.attempts: 0,
}
_STORED = select(SyncEvent.id, SyncEvent.position, EVENT_JSON.label("json"))
_BY_ID = _STORED.where(SyncEvent.id == bindparam("event_id"))


class StoredEvent(NamedTuple):
    """An event with its JSON (`EventView`)."""

    id: UUID
    position: int
    json: str


class EventUnknown(NotFound):
    detail = "There is no event with this id."


class SetAsideGroup(NamedTuple):
    """Set-aside events with one error. The oldest `MAX_NEXT` of them are those up to `next_position`."""

    last_error: str | None
    events: int
    oldest_at: datetime
    newest_position: int
    next_position: int


class EventRepository:
    """Reads events, and gives set-aside ones back to the sweep.

    Nothing above the position `through` is listed, if there is one (`DurableWatermark`).
    """

    def __init__(self, session: AsyncSession | AsyncConnection, through: int | None = None) -> None:
        self._session = session
        self._through = MAX_POSITION if through is None else through

    async def get(self, event_id: UUID) -> StoredEvent:
        """The event with this id; raises `EventUnknown` when there is none."""
        row = (await self._session.execute(_BY_ID, {"event_id": event_id})).one_or_none()
        if row is None:
            raise EventUnknown
        return StoredEvent(*row)

    async def list_by_ids(self, event_ids: Collection[UUID]) -> dict[UUID, StoredEvent]:
        """The events with these ids, as far as there are any, by id."""
        rows = await self._session.execute(_STORED.where(among_ids(SyncEvent.id, event_ids)))
        return {row.id: StoredEvent(*row) for row in rows}

    async def list_at(self, positions: Sequence[int]) -> Sequence[EventRow]:
        """The events at `positions`, by rising position."""
        query = _EVENTS.where(among(SyncEvent.position, positions)).order_by(SyncEvent.position)
        rows: Sequence[EventRow] = (await self._session.execute(query)).all()
        return rows

    async def file_is_known(self, file_id: UUID) -> bool:
        query = select(SyncEvent.position).where(SyncEvent.file_id == file_id, SyncEvent.position <= self._through)
        return (await self._session.scalar(query.limit(1))) is not None

    async def get_last_position(self, file_id: UUID) -> int:
        """The position of the last event that names the file; 0 when none does."""
        query = select(func.max(SyncEvent.position)).where(SyncEvent.file_id == file_id)
        return (await self._session.scalar(query)) or 0

    async def get_ledger_id(self) -> UUID:
        return (await self._session.execute(select(LedgerIdentity.ledger_id))).scalar_one()

    async def list_set_aside_groups(self) -> tuple[Sequence[SetAsideGroup], int]:
        """The largest groups among the oldest 100,000 set-aside events, and how many of these are in others."""
        rows = (await self._session.execute(_set_aside_groups(self._through))).all()
        groups = [SetAsideGroup._make(row[:-1]) for row in rows]
        total = int(rows[0][-1]) if rows else 0
        return groups, total - sum(group.events for group in groups)

    async def requeue(self, event_id: UUID) -> bool:
        """Give a set-aside event to the next sweep, with all its attempts again; false when it was not set aside."""
        query = (
            update(SyncEvent)
            .where(SyncEvent.id == event_id, SyncEvent.retry_state == RetryState.FAILED)
            .values(_REQUEUED)
            .returning(SyncEvent.position)
        )
        return (await self._session.scalar(query)) is not None

    async def requeue_all(self, wanted: RequeueFilter, *, up_to_position: int, expected: int) -> None:
        """Give the set-aside events that match, at or below the position, to the next sweep: `expected` of them.

        They are locked by rising position, so that two callers never wait for each other in a circle.

        Raises:
            OtherCount: 409; the transaction has to be rolled back.
        """
        found = (await self._session.scalars(_set_aside(wanted, up_to_position, expected + 1))).all()
        still = select(SyncEvent.position).where(
            among(SyncEvent.position, found), SyncEvent.retry_state == RetryState.FAILED
        )
        locked = (await self._session.scalars(still.order_by(SyncEvent.position).with_for_update())).all()
        if len(locked) != expected:
            count = len(locked) if len(locked) < expected else f"more than {expected}"
            raise OtherCount(f"{count} set-aside events at or below the position")
        requeue = update(SyncEvent).where(among(SyncEvent.position, locked)).values(_REQUEUED)
        await self._session.execute(requeue.execution_options(synchronize_session=False))


def _set_aside(wanted: RequeueFilter, up_to_position: int, limit: int) -> Select[Any, Any]:
    """The positions of the first `limit` events that match, or of all that match when ids name them."""
    query: Select[Any, Any] = select(SyncEvent.position, SyncEvent.id)
    columns = (
        (SyncEvent.file_id, wanted.file_id),
        (SyncEvent.event_type, wanted.event_type),
        (SyncEvent.last_error, wanted.last_error),
    )
    keys = [(column, value) for column, value in columns if value is not None]
    if wanted.event_ids is not None:
        conditions = [column == value for column, value in keys]
        failed = SyncEvent.retry_state == RetryState.FAILED
        return query.where(
            among_ids(SyncEvent.id, wanted.event_ids), failed, SyncEvent.position <= up_to_position, *conditions
        )
    indexed = 0 if wanted.file_id is None and wanted.event_type is None else 1
    others = and_(SyncEvent.retry_state.is_not(None), *(column == value for column, value in keys[indexed:]))
    events = Range([(SyncEvent.retry_state, RetryState.FAILED), *keys[:indexed]], others)
    return Search([events], through=[up_to_position], newest_first=False).page(query, limit, 0, limit)


def _set_aside_groups(through: int) -> Select[Any, Any, Any, Any, Any, Any]:
    of_events: Any = select(SyncEvent.position, SyncEvent.last_error, SyncEvent.created_at)
    failed = Range([(SyncEvent.retry_state, RetryState.FAILED)], SyncEvent.retry_state.is_not(None))
    search = Search([failed], through=[through], newest_first=False)
    event = search.page(of_events, MAX_GROUPED, 0, MAX_GROUPED).subquery("event")
    number = func.row_number().over(partition_by=event.c.last_error, order_by=event.c.position)
    numbered = select(event, number.label("number")).subquery("numbered").c
    size = func.count()
    return (
        select(
            numbered.last_error,
            size,
            func.min(numbered.created_at),
            func.max(numbered.position),
            func.max(case((numbered.number <= MAX_NEXT, numbered.position))),
            func.sum(size).over(),
        )
        .group_by(numbered.last_error)
        .order_by(size.desc(), func.min(numbered.position))
        .limit(MAX_GROUPS)
    )


def unprocessed_count(file_id: UUID) -> ColumnElement[int]:
    """How many events of the file wait for the sweep or are set aside, at most `MAX_COUNT`, as an expression."""
    of_file = select(SyncEvent.position).where(SyncEvent.file_id == file_id)
    # Both are ranges of indexes: after the sweep's cursor, and passed by it.
    pending = of_file.where(SyncEvent.position > CURSOR).limit(MAX_COUNT).subquery()
    passed = of_file.where(SyncEvent.retry_state.in_(RetryState)).limit(MAX_COUNT).subquery()
    both = union_all(select(pending), select(passed)).limit(MAX_COUNT).subquery()
    return select(func.count()).select_from(both).scalar_subquery()
