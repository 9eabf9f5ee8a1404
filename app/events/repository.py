"""Queries over the ledger."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import add
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    inspect,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.sql import json_text
from app.database.types import among, among_ids
from app.errors import NotFound
from app.events.models import LedgerIdentity, RetryState, SweepCursor, SyncEvent, head_position
from app.events.schemas import EventView


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events; `None` means any. Times are exclusive bounds."""

    event_type: str | None = None
    processed: bool | None = None
    file_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    anomaly: bool | None = None
    state: str | None = None


EVERYTHING = EventFilter()

# A row with the attributes of `SyncEvent`, without the cost of an object that could be changed.
EventRow = Row[Any]
_EVENTS: Select[Any] = select(*(column.class_attribute.label(column.key) for column in inspect(SyncEvent).column_attrs))
_BY_ID = _EVENTS.where(SyncEvent.id == bindparam("event_id"))

_OTHERS: dict[str, ColumnElement[Any]] = {
    "event_id": SyncEvent.id.expression,
    "metadata": SyncEvent.event_metadata.expression,
    "state": case((SyncEvent.processed, "processed"), else_=func.coalesce(SyncEvent.retry_state, "pending")),
}
_members = {name: _OTHERS[name] if name in _OTHERS else getattr(SyncEvent, name) for name in EventView.model_fields}

# An event as JSON, as `EventView` has it: written by the database, several times as fast as from rows.
EVENT_JSON = json_text(_members)


def encode_page(events: Sequence[str]) -> bytes:
    """Events as a JSON array."""
    return b"[%b]" % b",".join([event.encode() for event in events])


class EventRepository:
    """Reads events, and gives set-aside ones back to the sweep.

    Lists end at the position `through` if there is one: nothing above it is shown (`DurableWatermark`).
    """

    def __init__(self, session: AsyncSession | AsyncConnection, through: int | None = None) -> None:
        self._session = session
        self._through = [] if through is None else [SyncEvent.position <= through]
        self._head = head_position() if through is None else literal(through, BigInteger)

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

    async def list_newest(self, event_filter: EventFilter, *, limit: int, offset: int) -> Sequence[str]:
        """Events as JSON by falling position. Without filters, any offset is one index seek: positions have no gaps."""
        newest_first = SyncEvent.position.desc()
        if event_filter == EVERYTHING:
            listed = SyncEvent.position <= self._head - offset
        elif event_filter.processed is False:
            listed = SyncEvent.position.in_(
                _unprocessed_page([*_conditions(event_filter), *self._through], limit, offset)
            )
        else:
            listed = _listed([*_conditions(event_filter), *self._through], newest_first, limit, offset)
        query = select(EVENT_JSON).where(listed).order_by(newest_first).limit(limit)
        return (await self._session.execute(query)).scalars().all()

    async def list_at(self, positions: Sequence[int]) -> Sequence[EventRow]:
        """The events at `positions`, by rising position."""
        query = _EVENTS.where(among(SyncEvent.position, positions)).order_by(SyncEvent.position)
        rows: Sequence[EventRow] = (await self._session.execute(query)).all()
        return rows

    async def list_history(self, file_id: UUID, *, limit: int, offset: int) -> Sequence[str]:
        """Events of one file as JSON by rising position."""
        oldest_first = SyncEvent.position.asc()
        listed = _listed([SyncEvent.file_id == file_id, *self._through], oldest_first, limit, offset)
        query = select(EVENT_JSON).where(listed).order_by(oldest_first).limit(limit)
        return (await self._session.execute(query)).scalars().all()

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


def _cursor() -> ColumnElement[int]:
    return select(SweepCursor.position).scalar_subquery()


def unprocessed_arms() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The two disjoint places where unprocessed events are: after the sweep's cursor, and passed with a retry state."""
    return SyncEvent.position > _cursor(), SyncEvent.retry_state.is_not(None)


def unprocessed_count(file_id: UUID) -> ColumnElement[int]:
    """How many events of the file still wait for the sweep or are set aside, as an expression: two index ranges."""
    counts = (
        select(func.count()).where(SyncEvent.file_id == file_id, arm).scalar_subquery() for arm in unprocessed_arms()
    )
    return reduce(add, counts)


def _listed(
    conditions: list[ColumnElement[bool]], order: ColumnElement[int], limit: int, offset: int
) -> ColumnElement[bool]:
    """The events of a page; by position if it has an offset, so that PostgreSQL writes no JSON of skipped ones."""
    if not offset:
        return and_(*conditions)
    page = select(SyncEvent.position).where(*conditions).order_by(order).limit(limit).offset(offset)
    return SyncEvent.position.in_(page)


def _unprocessed_page(conditions: list[ColumnElement[bool]], limit: int, offset: int) -> Select[tuple[int]]:
    """Positions of a page of unprocessed events: each arm gives its newest ones in order, then they are merged."""
    arms = (
        select(SyncEvent.position)
        .where(*conditions, arm)
        .order_by(SyncEvent.position.desc())
        .limit(limit + offset)
        .subquery()
        for arm in unprocessed_arms()
    )
    merged = union_all(*(select(arm.c.position) for arm in arms)).subquery()
    return select(merged.c.position).order_by(merged.c.position.desc()).limit(limit).offset(offset)


def _last_position(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    # `created_at` never falls while `position` rises, so a bound on time is a bound on position.
    newest_first = (SyncEvent.created_at.desc(), SyncEvent.position.desc())
    return select(SyncEvent.position).where(*conditions).order_by(*newest_first).limit(1).scalar_subquery()


def _conditions(event_filter: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if event_filter.event_type is not None:
        conditions.append(SyncEvent.event_type == event_filter.event_type)
    if event_filter.file_id is not None:
        conditions.append(SyncEvent.file_id == event_filter.file_id)
    if event_filter.created_after is not None:
        bound = _last_position(SyncEvent.created_at <= event_filter.created_after)
        conditions.append(SyncEvent.position > func.coalesce(bound, 0))
    if event_filter.created_before is not None:
        conditions.append(SyncEvent.position <= _last_position(SyncEvent.created_at < event_filter.created_before))
    if event_filter.anomaly is not None:
        conditions.append(SyncEvent.anomaly.is_not(None) if event_filter.anomaly else SyncEvent.anomaly.is_(None))
    if event_filter.processed:
        conditions += _state_conditions("processed")
    if event_filter.state is not None:
        conditions += _state_conditions(event_filter.state)
    return conditions


def _state_conditions(state: str) -> list[ColumnElement[bool]]:
    match state:
        case "processed":
            return [SyncEvent.processed.is_(True), SyncEvent.position <= _cursor()]
        case "pending":
            return [SyncEvent.position > _cursor()]
        case _:
            return [SyncEvent.retry_state == state]
