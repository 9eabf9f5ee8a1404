"""Searches of the ledger: which index finds the events that meet some filters, in the order of their positions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

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
from app.events.models import EventType, RetryState, SweepCursor, SyncEvent, head_position, last_position
from app.events.schemas import EventFilter
from app.http.types import MAX_POSITION

PENDING = "pending"
Position = int | ColumnElement[int]


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


# Every event is in one of three parts, each with indexes of its own: it is in retry or set aside, an anomaly, or plain.
_NOT_IN_RETRY = SyncEvent.retry_state.is_(None)
_PLAIN = and_(_NOT_IN_RETRY, SyncEvent.anomaly.is_(None))
_ANOMALOUS = and_(SyncEvent.anomaly.is_not(None), _NOT_IN_RETRY)


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
    """How events are found that meet all the filters.

    Only what else is asked of the events of one file is tested event by event.
    """
    is_processed = event_filter.processed or event_filter.state == "processed"
    states = _unprocessed_states(event_filter)
    if states and (is_processed or event_filter.anomaly):  # an anomaly is known once its event is processed
        return Search([Range(condition=false())])
    above, through = _time_bounds(event_filter)
    if is_processed:
        through.append(CURSOR)
    tests: list[ColumnElement[bool]] = []
    part = Range()
    if event_filter.file_id is not None:
        part = Range([(SyncEvent.file_id, event_filter.file_id)], _NOT_IN_RETRY if is_processed else true())
        tests = _tests(event_filter, is_processed=not states)
    elif event_filter.event_type is not None:
        part = Range([(SyncEvent.event_type, event_filter.event_type)], _PLAIN)
    if states:
        ranges = [_in_state(state, part.keys) for state in states if state != PENDING]
        ranges += [part._replace(above=[CURSOR])] if PENDING in states else []
    elif event_filter.file_id is None and (is_processed or event_filter.anomaly is not None or part.keys):
        ranges = _of_types(event_filter, part, is_processed=is_processed)
    else:
        ranges = [part]
    return Search([one._replace(above=[*above, *one.above]) for one in ranges], tests, through)


def _tests(event_filter: EventFilter, *, is_processed: bool) -> list[ColumnElement[bool]]:
    """Further filters on the events of one file."""
    tests = [] if event_filter.event_type is None else [SyncEvent.event_type == event_filter.event_type]
    if event_filter.anomaly is not None and is_processed:
        tests.append(SyncEvent.anomaly.is_not(None) if event_filter.anomaly else SyncEvent.anomaly.is_(None))
    return tests


def _in_state(state: str, keys: Sequence[tuple[InstrumentedAttribute[Any], Any]]) -> Range:
    """Events in a retry state, with the condition of the indexes that begin with it."""
    return Range([(SyncEvent.retry_state, state), *keys], SyncEvent.retry_state.is_not(None))


def _of_types(event_filter: EventFilter, of_type: Range, *, is_processed: bool) -> list[Range]:
    """Events of the type, or of each type, in the parts of the ledger that the other filters leave."""
    keys = [of_type.keys] if of_type.keys else [[(SyncEvent.event_type, one)] for one in EventType]
    ranges = [] if event_filter.anomaly else [Range(one, _PLAIN) for one in keys]
    if event_filter.anomaly is not False:
        ranges += [Range(one, _ANOMALOUS) for one in keys]
    if not is_processed and not event_filter.anomaly:
        ranges += [_in_state(state, of_type.keys) for state in RetryState]
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
