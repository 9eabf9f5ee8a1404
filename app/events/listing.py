"""Lists of events by position, each page from index entries of a bounded number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Subquery,
    and_,
    case,
    false,
    func,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.database.sql import json_text
from app.database.types import greatest_of, least_of
from app.errors import FieldError, Unprocessable
from app.events.models import LedgerHead, RetryState, SweepCursor, SyncEvent
from app.events.schemas import EventView

VISITED_EVENTS = 100_000  # by a page whose filters no single index serves
MAX_FILTERED_OFFSET = 10_000
PENDING = "pending"
OFFSET_TOO_LARGE = (
    'Beside a filter `offset` is at most 10000: follow the `Link` with `rel="next"` of each page instead, '
    "which continues at a position."
)

_OTHERS: dict[str, ColumnElement[Any]] = {
    "event_id": SyncEvent.id.expression,
    "metadata": SyncEvent.event_metadata.expression,
    "state": case((SyncEvent.processed, "processed"), else_=func.coalesce(SyncEvent.retry_state, "pending")),
}
_members = {name: _OTHERS[name] if name in _OTHERS else getattr(SyncEvent, name) for name in EventView.model_fields}

# An event as JSON, as `EventView` has it: written by the database, several times as fast as from rows.
EVENT_JSON = json_text(_members)


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
_HEAD = select(LedgerHead.position).scalar_subquery()
CURSOR = select(SweepCursor.position).scalar_subquery()  # all events up to it are processed or have a retry state


class Continuation(NamedTuple):
    """The next page skips `offset` of the matching events beyond `position`."""

    position: int
    offset: int

    def query(self, name: str) -> dict[str, int]:
        """The query of the next page, where `name` is the parameter of the position."""
        return {name: self.position} | ({"offset": self.offset} if self.offset else {})


def check_offset(offset: int) -> None:
    """Refuse to skip many events of a filtered list.

    Raises:
        Unprocessable: 422.
    """
    if offset > MAX_FILTERED_OFFSET:
        error = FieldError(
            loc=["query", "offset"], msg="Input should be less than or equal to 10000", type="less_than_equal"
        )
        raise Unprocessable(OFFSET_TOO_LARGE, errors=[error])


class EventPage(NamedTuple):
    """Events as JSON, and where the next page begins; None after the last page."""

    events: Sequence[str]
    following: Continuation | None


class EventList:
    """Reads pages. Nothing above the position `through` is shown, if there is one (`DurableWatermark`)."""

    def __init__(self, session: AsyncSession | AsyncConnection, through: int | None = None) -> None:
        self._session = session
        self._through = through

    async def newest(
        self, event_filter: EventFilter, *, limit: int, offset: int = 0, before: int | None = None
    ) -> EventPage:
        """Matching events by falling position, below the position `before`.

        Without a filter any offset is one index seek, since positions have no gaps. With filters that no single index
        serves, a page ends after `VISITED_EVENTS` events, even when it is short or empty.
        """
        tops = [top for top in (self._through, None if before is None else before - 1) if top is not None]
        top: int | ColumnElement[int] = min(tops) if tops else _HEAD
        if event_filter == EVERYTHING:
            return await self._read(_Search([_Range()], through=[top - offset]), limit, 0)
        search = _search(event_filter)
        if search.tests and not tops:  # two statements have to read the same events
            top = await self._session.scalar(select(_HEAD)) or 0
        if isinstance(top, int):
            search.through.append(top)
        return await self._read(search, limit, offset)

    async def history(self, file_id: UUID, *, limit: int, offset: int = 0, after: int | None = None) -> EventPage:
        """Events of one file by rising position, above the position `after`."""
        through: list[Position] = [] if self._through is None else [self._through]
        of_file = _Range([SyncEvent.file_id == file_id], above=[after or 0])
        return await self._read(_Search([of_file], through=through, newest_first=False), limit, offset)

    async def _read(self, search: "_Search", limit: int, offset: int) -> EventPage:
        # With tests SQLite visits all events that it may, so a few are tried first.
        rows = await self._find(search, limit + 1, offset, (2 if search.tests else 1) * (limit + 1 + offset))
        if len(rows) <= limit and search.tests:
            rows = await self._find(search, limit + 1, offset, VISITED_EVENTS)
        events = [json for _, json in rows[:limit]]
        if len(rows) > limit:
            return EventPage(events, Continuation(rows[limit - 1].position, 0))
        return EventPage(events, await self._find_end(search, offset) if search.tests else None)

    async def _find(self, search: "_Search", limit: int, offset: int, most: int) -> Sequence[Row[int, str]]:
        query = select(SyncEvent.position, EVENT_JSON).where(search.page(limit, offset, most))
        return (await self._session.execute(query.order_by(search.order(SyncEvent.position)).limit(limit))).all()

    async def _find_end(self, search: "_Search", offset: int) -> Continuation | None:
        """Where a page ended that visited as many events as it may; None when it has visited all."""
        visited = search.visited(VISITED_EVENTS)
        matching = func.count(case((visited.c.matches, 1)))
        query = select(func.count(), matching, func.min(visited.c.position)).select_from(visited)
        count, matches, position = (await self._session.execute(query)).one()
        return Continuation(position, max(0, offset - matches)) if count == VISITED_EVENTS else None


Position = int | ColumnElement[int]


class _Range(NamedTuple):
    """Events above the positions `above` that meet `conditions`: one index gives them in order."""

    conditions: Sequence[ColumnElement[bool]] = ()
    above: Sequence[Position] = ()


@dataclass(frozen=True, slots=True)
class _Search:
    """How a list is found: in disjoint ranges up to the positions `through`, by `tests` of each event visited."""

    ranges: Sequence[_Range]
    tests: Sequence[ColumnElement[bool]] = ()
    through: list[Position] = field(default_factory=list)
    newest_first: bool = True

    def order(self, position: ColumnElement[int] | InstrumentedAttribute[int]) -> ColumnElement[int]:
        """The order of the list by this column."""
        return position.desc() if self.newest_first else position.asc()

    def page(self, limit: int, offset: int, most: int) -> ColumnElement[bool]:
        """The events of a page among the first `most`, by their positions unless they are the first of one range.

        So the database writes no JSON of events that it skips.
        """
        if not self.tests and not offset and len(self.ranges) == 1:
            return and_(true(), *self._conditions(self.ranges[0]))
        visited = self.visited(most)
        page = select(visited.c.position).order_by(self.order(visited.c.position)).limit(limit).offset(offset)
        return SyncEvent.position.in_(page.where(visited.c.matches) if self.tests else page)

    def visited(self, limit: int) -> Subquery:
        """The first `limit` positions of all ranges together, and whether the event there `matches` the tests."""
        columns = (SyncEvent.position, and_(true(), *self.tests).label("matches"))
        order = self.order(SyncEvent.position)
        parts = [select(*columns).where(*self._conditions(one)).order_by(order).limit(limit) for one in self.ranges]
        if len(parts) == 1:
            return parts[0].subquery()
        merged = union_all(*(select(part.subquery()) for part in parts)).subquery()
        return select(merged).order_by(self.order(merged.c.position)).limit(limit).subquery()

    def _conditions(self, events: _Range) -> Iterator[ColumnElement[bool]]:
        """The conditions of one range. SQLite searches an index by one bound on each side alone."""
        yield from events.conditions
        if events.above:
            yield SyncEvent.position > reduce(greatest_of, events.above)
        if self.through:
            yield SyncEvent.position <= reduce(least_of, self.through)


def _search(event_filter: EventFilter) -> _Search:
    """How events are found that meet all the filters."""
    is_processed = event_filter.processed or event_filter.state == "processed"
    states = _unprocessed_states(event_filter)
    if states and (is_processed or event_filter.anomaly):  # an anomaly is known once its event is processed
        return _Search([_Range([false()])])
    conditions = _conditions(event_filter)
    indexed, tests = conditions[:1], conditions[1:]
    if event_filter.anomaly is False and not states:
        tests.append(SyncEvent.anomaly.is_(None))
    above, through = _time_bounds(event_filter)
    if is_processed:
        through.append(CURSOR)
        tests.append(SyncEvent.processed.is_(True))
    ranges = [_Range([SyncEvent.retry_state == state, *indexed], above) for state in states if state != PENDING]
    if PENDING in states:
        ranges.append(_Range(indexed, [*above, CURSOR]))
    return _Search(ranges or [_Range(indexed, above)], tests, through)


def _conditions(event_filter: EventFilter) -> list[ColumnElement[bool]]:
    """What an index can serve, the most selective condition first."""
    conditions: list[ColumnElement[bool]] = []
    if event_filter.file_id is not None:
        conditions.append(SyncEvent.file_id == event_filter.file_id)
    if event_filter.anomaly:
        conditions.append(SyncEvent.anomaly.is_not(None))
    if event_filter.event_type is not None:
        conditions.append(SyncEvent.event_type == event_filter.event_type)
    return conditions


def _time_bounds(event_filter: EventFilter) -> tuple[list[Position], list[Position]]:
    """The positions that events of the time are above, and up to: `created_at` never falls while `position` rises."""
    above: list[Position] = []
    through: list[Position] = []
    if event_filter.created_after is not None:
        above.append(_last_position(SyncEvent.created_at <= event_filter.created_after))
    if event_filter.created_before is not None:
        through.append(_last_position(SyncEvent.created_at < event_filter.created_before))
    return above, through


def _unprocessed_states(event_filter: EventFilter) -> Sequence[str]:
    """The states to search for events that are not processed; empty where processed ones are listed too."""
    if event_filter.state not in (None, "processed"):
        return [str(event_filter.state)]
    return [PENDING, *RetryState] if event_filter.processed is False else []


def _last_position(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """The last position where the condition on the time holds, 0 where there is none."""
    newest_first = (SyncEvent.created_at.desc(), SyncEvent.position.desc())
    last = select(SyncEvent.position).where(condition).order_by(*newest_first).limit(1).scalar_subquery()
    return func.coalesce(last, 0)
