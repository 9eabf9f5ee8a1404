"""Searches of the ledger: which index finds the events that meet some filters, in the order of their positions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    and_,
    false,
    func,
    literal,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from app.database.types import greatest_of, least_of
from app.events.models import RetryState, SweepCursor, SyncEvent, head_position, last_position
from app.http.types import MAX_POSITION

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
HEAD = head_position()
# All events up to it are processed or have a retry state. To a bare subquery SQLite gives a type that no index has.
CURSOR = func.coalesce(select(SweepCursor.position).scalar_subquery(), 0)


class Range(NamedTuple):
    """Events above the positions `above` with these `keys` that meet `condition`: one index gives them in order.

    The index begins with the columns of the keys, and ends with the position.
    """

    keys: Sequence[tuple[InstrumentedAttribute[Any], Any]] = ()
    condition: ColumnElement[bool] = true()
    above: Sequence[Position] = ()

    def test(self) -> ColumnElement[bool]:
        """Whether an event that is visited otherwise belongs to the range."""
        return and_(self.condition, *(column == value for column, value in self.keys))


_ANOMALIES = Range(condition=SyncEvent.anomaly.is_not(None))


@dataclass(frozen=True, slots=True)
class Search:
    """How a list is found: in disjoint ranges up to the positions `through`, by `tests` of each event visited."""

    ranges: Sequence[Range]
    tests: Sequence[ColumnElement[bool]] = ()
    through: list[Position] = field(default_factory=list)
    newest_first: bool = True

    def page(self, query: Select[Any, Any], limit: int, offset: int, most: int) -> Select[Any, Any]:
        """Have `query` select a page among the first `most` events, by their positions unless they begin a range.

        So the database writes no JSON of events that it skips.
        """
        if not self.tests and not offset and len(self.ranges) == 1:
            return self._first(query, self.ranges[0], limit)
        visited = self.visited(most)
        page = select(visited.c.position).order_by(self._order(visited.c.position)).limit(limit).offset(offset)
        listed = SyncEvent.position.in_(page.where(visited.c.matches) if self.tests else page)
        return query.where(listed).order_by(self._order(SyncEvent.position)).limit(limit)

    def visited(self, limit: int) -> Subquery:
        """The first `limit` positions of all ranges together, and whether the event there `matches` the tests."""
        query: Select[Any, Any] = select(SyncEvent.position, and_(true(), *self.tests).label("matches"))
        parts = [self._first(query, one, limit) for one in self.ranges]
        if len(parts) == 1:
            return parts[0].subquery()
        merged = union_all(*(select(part.subquery()) for part in parts)).subquery()
        return select(merged).order_by(self._order(merged.c.position)).limit(limit).subquery()

    def _first(self, query: Select[Any, Any], events: Range, limit: int) -> Select[Any, Any]:
        """The first events of a range, from bounds and in an order for which its index alone will do.

        PostgreSQL, when a key is frequent, would rather read all events by position, and visit all that have another.
        """
        above = reduce(greatest_of, events.above) if events.above else None
        through = reduce(least_of, self.through) if self.through else None
        columns = [column for column, _ in events.keys]
        if columns:
            values = [literal(value, column.type) for column, value in events.keys]
            place = tuple_(*columns, SyncEvent.position)
            query = query.where(
                place > tuple_(*values, _integer(0 if above is None else above)),
                place <= tuple_(*values, _integer(MAX_POSITION if through is None else through)),
            )
        else:
            query = query if above is None else query.where(SyncEvent.position > above)
            query = query if through is None else query.where(SyncEvent.position <= through)
        order = [self._order(column) for column in (*columns, SyncEvent.position)]
        return query.where(events.condition).order_by(*order).limit(limit)

    def _order(self, column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        return column.desc() if self.newest_first else column.asc()


def _integer(value: Position) -> ColumnElement[int]:
    return literal(value, BigInteger) if isinstance(value, int) else value


def search_for(event_filter: EventFilter) -> Search:
    """How events are found that meet all the filters."""
    is_processed = event_filter.processed or event_filter.state == "processed"
    states = _unprocessed_states(event_filter)
    if states and (is_processed or event_filter.anomaly):  # an anomaly is known once its event is processed
        return Search([Range(condition=false())])
    above, through = _time_bounds(event_filter)
    if is_processed:
        through.append(CURSOR)
    selective = _ranges(event_filter)
    if not selective and not states and (is_processed or event_filter.anomaly is False):
        return Search([one._replace(above=above) for one in _not_in_retry(event_filter, is_processed)], (), through)
    indexed, *others = selective or [Range()]
    tests = [other.test() for other in others]
    if event_filter.anomaly is False and not states:
        tests.append(SyncEvent.anomaly.is_(None))
    if is_processed:
        tests.append(SyncEvent.processed.is_(True))
    ranges = [_in_state(state, indexed.keys)._replace(above=above) for state in states if state != PENDING]
    if PENDING in states:
        ranges.append(indexed._replace(above=[*above, CURSOR]))
    return Search(ranges or [indexed._replace(above=above)], tests, through)


def _not_in_retry(event_filter: EventFilter, is_processed: bool) -> list[Range]:
    """The events up to the sweep's cursor that are processed, those that are no anomalies, or those that are both."""
    ranges = [Range(condition=and_(SyncEvent.retry_state.is_(None), SyncEvent.anomaly.is_(None)))]
    if event_filter.anomaly is None:
        ranges.append(_ANOMALIES)
    elif not is_processed:
        ranges += [_in_state(state) for state in RetryState]
    return ranges


def _in_state(state: str, keys: Sequence[tuple[InstrumentedAttribute[Any], Any]] = ()) -> Range:
    """Events in a retry state, with the condition of the indexes that begin with it."""
    return Range([(SyncEvent.retry_state, state), *keys], SyncEvent.retry_state.is_not(None))


def _ranges(event_filter: EventFilter) -> list[Range]:
    """What an index can serve, the most selective first."""
    ranges: list[Range] = []
    if event_filter.file_id is not None:
        ranges.append(Range([(SyncEvent.file_id, event_filter.file_id)]))
    if event_filter.anomaly:
        ranges.append(_ANOMALIES)
    if event_filter.event_type is not None:
        ranges.append(Range([(SyncEvent.event_type, event_filter.event_type)]))
    return ranges


def _time_bounds(event_filter: EventFilter) -> tuple[list[Position], list[Position]]:
    """The positions that events of the time are above, and up to: `created_at` never falls while `position` rises."""
    above: list[Position] = []
    through: list[Position] = []
    if event_filter.created_after is not None:
        above.append(last_position(SyncEvent.created_at <= event_filter.created_after))
    if event_filter.created_before is not None:
        through.append(last_position(SyncEvent.created_at < event_filter.created_before))
    return above, through


def _unprocessed_states(event_filter: EventFilter) -> Sequence[str]:
    """The states to search for events that are not processed; empty where processed ones are listed too."""
    if event_filter.state not in (None, "processed"):
        return [str(event_filter.state)]
    return [PENDING, *RetryState] if event_filter.processed is False else []
