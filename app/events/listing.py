"""Lists of events by position, each page from index entries of a bounded number."""

from collections.abc import AsyncIterator, Sequence
from itertools import accumulate, takewhile
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.engine import Database
from app.database.sql import json_text
from app.database.types import among, most_octets_of
from app.errors import FieldError, Unprocessable
from app.events.models import SyncEvent
from app.events.schemas import METADATA_MAX_BYTES, EventFilter, EventView
from app.events.search import EVERYTHING, HEAD, Position, Range, Search, search_for
from app.http.pages import PageMemory

VISITED_EVENTS = 100_000  # by a page whose filters no single index serves
MAX_FILTERED_OFFSET = 10_000
OTHER_BYTES = 450  # of the JSON of an event without its metadata, about
OFFSET_TOO_LARGE = (
    '`offset` is at most 10000 here: follow the `Link` with `rel="next"` of each page instead, '
    "which continues at any depth."
)

_OTHERS: dict[str, ColumnElement[Any]] = {
    "event_id": SyncEvent.id.expression,
    "metadata": SyncEvent.event_metadata.expression,
    "state": case((SyncEvent.processed, "processed"), else_=func.coalesce(SyncEvent.retry_state, "pending")),
}
_members = {name: _OTHERS[name] if name in _OTHERS else getattr(SyncEvent, name) for name in EventView.model_fields}

# An event as JSON, as `EventView` has it: written by the database, several times as fast as from rows.
EVENT_JSON = json_text(_members)


class Continuation(NamedTuple):
    """The next page skips `offset` of the matching events beyond `position`."""

    position: int
    offset: int

    def query(self, name: str) -> dict[str, int]:
        """The query of the next page, where `name` is the parameter of the position."""
        return {name: self.position} | ({"offset": self.offset} if self.offset else {})


def check_offset(offset: int) -> None:
    """Refuse to skip many events of a filtered list; raises `Unprocessable` (422)."""
    if offset > MAX_FILTERED_OFFSET:
        error = FieldError(
            loc=["query", "offset"], msg="Input should be less than or equal to 10000", type="less_than_equal"
        )
        raise Unprocessable(OFFSET_TOO_LARGE, errors=[error])


class Sized(NamedTuple):
    """The position of an event, and about how many bytes its JSON has."""

    position: int
    size_bytes: int


class EventPage(NamedTuple):
    """The first events of a page as JSON, the rest, and where the next page begins; None after the last page."""

    events: Sequence[str]
    rest: Sequence[Sized]
    following: Continuation | None

    def encode(self) -> bytes:
        """The JSON of the page, without its end if there is a rest."""
        return b"[%b%b" % (_join(self.events), b"" if self.rest else b"]")

    def slices(self, database: Database, memory: PageMemory) -> AsyncIterator[bytes] | None:
        """The JSON after `encode`, for which each slice is a read of its own; None when there is no rest."""
        return _read_slices(database, memory, self.rest) if self.rest else None


async def _read_slices(database: Database, memory: PageMemory, rest: Sequence[Sized]) -> AsyncIterator[bytes]:
    while rest:
        async with database.connection() as connection:
            part, rest = _cut(rest, memory.slice_bytes())
            events = await EventList(connection).at(part)
        yield b",%b%b" % (_join(events), b"" if rest else b"]")


def _cut(events: Sequence[Sized], size_bytes: int) -> tuple[Sequence[Sized], Sequence[Sized]]:
    """The first events, of about `size_bytes` but at least one, and the rest."""
    totals = accumulate(event.size_bytes for event in events)
    count = max(1, sum(1 for _ in takewhile(lambda total: total <= size_bytes, totals)))
    return events[:count], events[count:]


def _join(events: Sequence[str]) -> bytes:
    return b",".join([event.encode() for event in events])


class EventList:
    """Reads pages. Nothing above the position `through` is shown, if there is one (`DurableWatermark`)."""

    def __init__(
        self, session: AsyncSession | AsyncConnection, through: int | None = None, memory: PageMemory | None = None
    ) -> None:
        self._session = session
        self._through = through
        self._memory = memory or PageMemory()

    async def newest(
        self, event_filter: EventFilter, *, limit: int, offset: int = 0, before: int | None = None
    ) -> EventPage:
        """Matching events by falling position, below the position `before`.

        Without a filter any offset is one index seek, since positions have no gaps. With filters that no single index
        serves, a page ends after `VISITED_EVENTS` events, even when it is short or empty.
        """
        tops = [top for top in (self._through, None if before is None else before - 1) if top is not None]
        top: int | ColumnElement[int] = min(tops) if tops else HEAD
        if event_filter == EVERYTHING:
            return await self._read(Search([Range()], through=[top - offset]), limit, 0)
        search = search_for(event_filter)
        if search.tests and not tops:  # two statements have to read the same events
            top = await self._session.scalar(select(HEAD)) or 0
        if isinstance(top, int):
            search.through.append(top)
        return await self._read(search, limit, offset)

    async def history(self, file_id: UUID, *, limit: int, offset: int = 0, after: int | None = None) -> EventPage:
        """Events of one file by rising position, above the position `after`."""
        through: list[Position] = [] if self._through is None else [self._through]
        of_file = Range([(SyncEvent.file_id, file_id)], above=[after or 0])
        return await self._read(Search([of_file], through=through, newest_first=False), limit, offset)

    async def at(self, events: Sequence[Sized]) -> Sequence[str]:
        """The JSON of these events, which are in the order of their positions."""
        positions = [event.position for event in events]
        order = SyncEvent.position.desc() if positions[0] > positions[-1] else SyncEvent.position.asc()
        query = select(EVENT_JSON).where(among(SyncEvent.position, positions)).order_by(order)
        return (await self._session.execute(query)).scalars().all()

    async def _read(self, search: Search, limit: int, offset: int) -> EventPage:
        slice_bytes = self._memory.slice_bytes()
        is_small = (limit + 1) * METADATA_MAX_BYTES <= slice_bytes
        column = EVENT_JSON if is_small else most_octets_of(SyncEvent.event_metadata)
        # With tests SQLite visits all events that it may, so a few are tried first.
        rows = await self._find(column, search, limit + 1, offset, (2 if search.tests else 1) * (limit + 1 + offset))
        if len(rows) <= limit and search.tests:
            rows = await self._find(column, search, limit + 1, offset, VISITED_EVENTS)
        following = None
        if len(rows) > limit:
            following = Continuation(rows[limit - 1][0], 0)
        elif search.tests:
            following = await self._find_end(search, offset)
        if is_small:
            return EventPage([json for _, json in rows[:limit]], [], following)
        found = [Sized(position, (octets or 0) + OTHER_BYTES) for position, octets in rows[:limit]]
        first, rest = _cut(found, slice_bytes)
        return EventPage(await self.at(first) if first else [], rest, following)

    async def _find(
        self, column: ColumnElement[Any], search: Search, limit: int, offset: int, most: int
    ) -> Sequence[Row[int, Any]]:
        query = search.page(select(SyncEvent.position, column), limit, offset, most)
        rows: Sequence[Row[int, Any]] = (await self._session.execute(query)).all()
        return rows

    async def _find_end(self, search: Search, offset: int) -> Continuation | None:
        """Where a page ended that visited as many events as it may; None when it has visited all."""
        visited = search.visited(VISITED_EVENTS)
        matching = func.count(case((visited.c.matches, 1)))
        query = select(func.count(), matching, func.min(visited.c.position)).select_from(visited)
        count, matches, position = (await self._session.execute(query)).one()
        return Continuation(position, max(0, offset - matches)) if count == VISITED_EVENTS else None
