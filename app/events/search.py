"""Searches of the ledger: which index finds the events that meet some filters, in the order of their positions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Subquery, and_, false, func, select, true, union_all
from sqlalchemy.orm import InstrumentedAttribute

from app.database.types import greatest_of, least_of
from app.events.models import LedgerHead, RetryState, SweepCursor, SyncEvent

PENDING = "pending"
Position = int | ColumnElement[int]


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
HEAD = select(LedgerHead.position).scalar_subquery()
CURSOR = select(SweepCursor.position).scalar_subquery()  # all events up to it are processed or have a retry state


class Range(NamedTuple):
    """Events above the positions `above` that meet `conditions`: one index gives them in order."""

    conditions: Sequence[ColumnElement[bool]] = ()
    above: Sequence[Position] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """How a list is found: in disjoint ranges up to the positions `through`, by `tests` of each event visited."""

    ranges: Sequence[Range]
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

    def _conditions(self, events: Range) -> Iterator[ColumnElement[bool]]:
        """The conditions of one range. SQLite searches an index by one bound on each side alone."""
        yield from events.conditions
        if events.above:
            yield SyncEvent.position > reduce(greatest_of, events.above)
        if self.through:
            yield SyncEvent.position <= reduce(least_of, self.through)


def search_for(event_filter: EventFilter) -> Search:
    """How events are found that meet all the filters."""
    is_processed = event_filter.processed or event_filter.state == "processed"
    states = _unprocessed_states(event_filter)
    if states and (is_processed or event_filter.anomaly):  # an anomaly is known once its event is processed
        return Search([Range([false()])])
    conditions = _conditions(event_filter)
    indexed, tests = conditions[:1], conditions[1:]
    if event_filter.anomaly is False and not states:
        tests.append(SyncEvent.anomaly.is_(None))
    above, through = _time_bounds(event_filter)
    if is_processed:
        through.append(CURSOR)
        tests.append(SyncEvent.processed.is_(True))
    ranges = [Range([SyncEvent.retry_state == state, *indexed], above) for state in states if state != PENDING]
    if PENDING in states:
        ranges.append(Range(indexed, [*above, CURSOR]))
    return Search(ranges or [Range(indexed, above)], tests, through)


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
