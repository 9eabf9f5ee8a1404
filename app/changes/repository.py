"""Queries of the change feed: the head of the ledger, its oldest event, and ranges of changes."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Select, Text, Uuid, case, cast, func, literal, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.changes.cursor import Change, ChangeFilter
from app.database.types import database_now, least_of, most_octets_of, octets_of
from app.events.listing import EVENT_JSON, OTHER_BYTES
from app.events.models import LedgerIdentity, SyncEvent, head_position
from app.events.schemas import METADATA_MAX_BYTES
from app.http.pages import PAGE_BYTES

WINDOW_POSITIONS = 10_000  # examined for one page when the filter's types may be rare
WINDOW_FILE_EVENTS = 1000  # examined for one page of one file, with types

# The columns of a `Change`, in its order.
COLUMNS: tuple[ColumnElement[Any], ...] = (
    SyncEvent.position.expression,
    SyncEvent.id.expression,
    SyncEvent.event_type.expression,
    SyncEvent.file_id.expression,
    EVENT_JSON.label("json"),
)


class FeedHead(NamedTuple):
    """The last position of the feed, the position before the oldest event that is kept, and the id of the ledger.

    `ledger_end` is the last assigned position, which is higher while standbys have not confirmed it. `event_id` is the
    id of the event at `position`, `asked_event_id` of the event at the asked position; None when there is no event.
    """

    position: int
    before_oldest: int
    ledger_id: UUID
    event_id: UUID | None
    asked_event_id: UUID | None
    ledger_end: int


class ChangeRange(NamedTuple):
    """All matching changes of a range of positions that ends at `through`, in order."""

    changes: Sequence[Change]
    through: int


class ChangeRepository:
    """Queries of the feed. All events up to the head are visible, since they are committed in the order of positions.

    With `through` the feed ends at this position (`DurableWatermark`). A read ends early at about `max_bytes` of JSON.
    """

    def __init__(self, session: AsyncSession, through: int | None = None, *, max_bytes: int = PAGE_BYTES) -> None:
        self._session = session
        self._through = through
        self._max_bytes = max_bytes

    async def get_head(self, asked: int = 0) -> FeedHead:
        """The head of the feed, and the id of the event at the position `asked`.

        The head is at least `asked`, the position of an earlier cursor, unless the ledger ends before it.
        """
        oldest = select(func.min(SyncEvent.position)).scalar_subquery()
        head = select(head_position().label("position")).subquery("head")
        position: ColumnElement[int] = head.c.position
        if self._through is not None:
            position = func.least(position, max(self._through, asked))
        event_id = select(SyncEvent.id).where(SyncEvent.position == position).correlate(head)
        query = select(
            position,
            func.coalesce(oldest - 1, position),
            LedgerIdentity.ledger_id,
            event_id.scalar_subquery(),
            select(SyncEvent.id).where(SyncEvent.position == asked).scalar_subquery(),
            head.c.position,
        )
        query = query.select_from(head).join(LedgerIdentity, true())
        return FeedHead(*(await self._session.execute(query)).one())

    async def get_age_seconds(self, position: int) -> float:
        """Seconds since the event at `position` was recorded, by the database's clock; 0 without an event."""
        row = (
            await self._session.execute(
                select(database_now(), SyncEvent.created_at).where(SyncEvent.position == position)
            )
        ).one_or_none()
        return 0.0 if row is None else float((row[0] - row[1]).total_seconds())

    async def list_after(self, change_filter: ChangeFilter, *, after: int, head: int, limit: int) -> ChangeRange:
        """At most `limit` matching changes after the position `after`, up to `head`.

        One call examines a bounded number of events, so a filter that rarely matches ends the range early.
        """
        if change_filter.file_id is not None:
            return await self._list_file(change_filter, after=after, head=head, limit=limit)
        through = min(head, after + WINDOW_POSITIONS) if change_filter.event_types else head
        query = select(*COLUMNS).where(SyncEvent.position > after, SyncEvent.position <= through)
        if change_filter.event_types:
            query = query.where(SyncEvent.event_type.in_(sorted(change_filter.event_types)))
        return await self._read(query, limit, through)

    async def _list_file(self, change_filter: ChangeFilter, *, after: int, head: int, limit: int) -> ChangeRange:
        """Read the events of the file in the order of its index, and filter their types here."""
        examined = max(limit, WINDOW_FILE_EVENTS) if change_filter.event_types else limit
        # As in `Search`: PostgreSQL would read the events by position, and visit those of all files, if it could.
        place = tuple_(SyncEvent.file_id, SyncEvent.position)
        first, last = (tuple_(literal(change_filter.file_id, Uuid), literal(end, BigInteger)) for end in (after, head))
        query = select(*COLUMNS).where(place > first, place <= last).order_by(SyncEvent.file_id)
        changes, through = await self._read(query, examined, head)
        matching = [change for change in changes if change_filter.matches(change)]
        return ChangeRange(matching[:limit], matching[limit - 1].position if len(matching) > limit else through)

    async def _read(self, query: Select[Any], limit: int, through: int) -> ChangeRange:
        """The first `limit` changes of `query`, which ends at the position `through`; fewer when they are long."""
        query = query.order_by(SyncEvent.position)
        few = self._max_bytes // METADATA_MAX_BYTES
        rows = await self._session.execute(query.limit(limit if limit <= few else self._fewer_if_long(query, limit)))
        changes = [Change(*row) for row in rows]
        # Half of it: the estimate below may be too large. A page that is taken as cut merely covers less.
        is_cut = len(changes) == limit or sum(len(change.json) for change in changes) > self._max_bytes // 2
        return ChangeRange(changes, changes[-1].position if is_cut else through)

    def _fewer_if_long(self, query: Select[Any], limit: int) -> ColumnElement[int]:
        """`limit`, or how many changes have about `max_bytes` as JSON.

        The running total is read only then, since it doubles the cost of a page.
        """
        most = func.coalesce(most_octets_of(SyncEvent.event_metadata), 0) + OTHER_BYTES
        sizes = query.with_only_columns(most.label("size")).limit(limit).subquery()
        size = func.coalesce(octets_of(cast(SyncEvent.event_metadata, Text)), 0) + OTHER_BYTES
        total = func.sum(size).over(order_by=SyncEvent.position, rows=(None, 0))
        totals = query.with_only_columns(total.label("total")).limit(limit).subquery()
        fitting = select(func.count() + 1).select_from(totals).where(totals.c.total <= self._max_bytes)
        is_long = func.sum(sizes.c.size) > self._max_bytes
        return select(case((is_long, least_of(fitting.scalar_subquery(), limit)), else_=limit)).scalar_subquery()
