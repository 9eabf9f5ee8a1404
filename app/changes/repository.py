"""Reads the ledger for those who follow it: its head, its oldest event, and what lies between."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.changes.change import Change, Wanted
from app.database.types import database_now
from app.events.event_json import EVENT_JSON
from app.events.models import LedgerHead, LedgerIdentity, SyncEvent

WINDOW_POSITIONS = 10_000  # examined for one page when the wanted types may be rare
WINDOW_FILE_EVENTS = 1000  # the same among the events of one file
MAX_CHARACTERS = 2**20  # of the metadata of changes that are read at once
LONG_CHANGES = 100  # read at once when they are longer

# The columns of a `Change`, in its order.
COLUMNS: tuple[ColumnElement[Any], ...] = (
    SyncEvent.position.expression,
    SyncEvent.id.expression,
    SyncEvent.event_type.expression,
    SyncEvent.file_id.expression,
    EVENT_JSON.label("json"),
)


class FeedHead(NamedTuple):
    """The last position to show, the position before the first event that is kept, and the id of the ledger.

    `ledger_end` is the last position given out, which may be higher while standbys have not confirmed it. `event_id` is
    of the event at `position`, `asked_event_id` of that at the position asked for; None where none is.
    """

    position: int
    before_oldest: int
    ledger_id: UUID
    event_id: UUID | None
    asked_event_id: UUID | None
    ledger_end: int


class Stretch(NamedTuple):
    """Wanted changes by rising position: all there are up to `through`."""

    changes: Sequence[Change]
    through: int


class ChangeRepository:
    """Queries of the feed. Whatever is at or below the head is visible: commits come in the order of positions.

    The feed ends at the position `through` if there is one (`DurableWatermark`).
    """

    def __init__(self, session: AsyncSession, through: int | None = None) -> None:
        self._session = session
        self._through = through

    async def get_head(self, asked: int = 0) -> FeedHead:
        """How far the feed goes, and which event is at the position `asked`.

        It goes at least as far as a cursor that was given out, if the ledger does.
        """
        oldest = select(func.min(SyncEvent.position)).scalar_subquery()
        position: ColumnElement[int] = LedgerHead.position.expression
        if self._through is not None:
            position = func.least(position, max(self._through, asked))
        event_id = select(SyncEvent.id).where(SyncEvent.position == position).correlate(LedgerHead)
        query = select(
            position,
            func.coalesce(oldest - 1, position),
            LedgerIdentity.ledger_id,
            event_id.scalar_subquery(),
            select(SyncEvent.id).where(SyncEvent.position == asked).scalar_subquery(),
            LedgerHead.position,
        )
        query = query.join_from(LedgerHead, LedgerIdentity, LedgerIdentity.id == LedgerHead.id)
        return FeedHead(*(await self._session.execute(query)).one())

    async def get_age_seconds(self, position: int) -> float:
        """How long ago the event at `position` was recorded, by the database's clock; 0 when there is none."""
        row = (
            await self._session.execute(
                select(database_now(), SyncEvent.created_at).where(SyncEvent.position == position)
            )
        ).one_or_none()
        return 0.0 if row is None else float((row[0] - row[1]).total_seconds())

    async def list_after(self, wanted: Wanted, *, after: int, head: int, limit: int) -> Stretch:
        """At most `limit` wanted changes after the position `after`, up to `head`.

        A filter that seldom matches ends the stretch early: what one call examines is bounded.
        """
        if wanted.file_id is not None:
            return await self._list_file(wanted, after=after, head=head, limit=limit)
        through = min(head, after + WINDOW_POSITIONS) if wanted.event_types else head
        query = select(*COLUMNS).where(SyncEvent.position > after, SyncEvent.position <= through)
        if wanted.event_types:
            query = query.where(SyncEvent.event_type.in_(sorted(wanted.event_types)))
        return await self._read(query, limit, through)

    async def _list_file(self, wanted: Wanted, *, after: int, head: int, limit: int) -> Stretch:
        """Read the events of the file whatever their type, which its index gives in order, and choose among them."""
        examined = max(limit, WINDOW_FILE_EVENTS) if wanted.event_types else limit
        query = select(*COLUMNS).where(
            SyncEvent.file_id == wanted.file_id, SyncEvent.position > after, SyncEvent.position <= head
        )
        changes, through = await self._read(query, examined, head)
        matching = [change for change in changes if wanted.matches(change)]
        return Stretch(matching[:limit], matching[limit - 1].position if len(matching) > limit else through)

    async def _read(self, query: Select[Any], limit: int, through: int) -> Stretch:
        """The first `limit` changes of `query`, which ends at the position `through`; of long ones `LONG_CHANGES`."""
        query = query.order_by(SyncEvent.position)
        most = limit if limit <= LONG_CHANGES else _fewer_if_long(query, limit)
        rows = await self._session.execute(query.limit(most))
        changes = [Change(*row) for row in rows]
        is_cut = len(changes) in {limit, min(limit, LONG_CHANGES)}
        return Stretch(changes, changes[-1].position if is_cut else through)


def _fewer_if_long(query: Select[Any], limit: int) -> ColumnElement[int]:
    """`limit`, or `LONG_CHANGES` when so many would be longer than `MAX_CHARACTERS`.

    A running total would cut the page to the event, and takes twice as much of every page that is not long.
    """
    length = func.length(cast(SyncEvent.event_metadata, Text)).label("length")
    lengths = query.with_only_columns(length).limit(limit).subquery()
    is_long = func.sum(lengths.c.length) > MAX_CHARACTERS
    return select(case((is_long, LONG_CHANGES), else_=limit)).scalar_subquery()
