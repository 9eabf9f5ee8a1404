"""Reads pages of the feed from the database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from app.changes.cursor import (
    WITH_EVENT,
    Change,
    ChangeFilter,
    Cursor,
    CursorAhead,
    CursorGone,
    CursorMaker,
    CursorOfLostEvent,
    CursorOfOtherLedger,
    FeedPosition,
    are_of_different_events,
    tag_of,
)
from app.changes.repository import ChangeRepository, FeedHead
from app.database.engine import Database
from app.http.pages import PAGE_BYTES, PageMemory

LATEST = "latest"


@dataclass(frozen=True)
class Page:
    """All matching changes after the position `after`, up to `end`; `head` is the last position of the ledger then."""

    changes: Sequence[Change]
    after: int
    end: FeedPosition
    head: int

    @property
    def has_more(self) -> bool:
        """Whether the ledger continues after this page."""
        return self.end.position < self.head

    @cached_property
    def encoded(self) -> bytes:
        """The page as JSON (`ChangePage`); encoded once for all requests that share the page."""
        changes = ",".join([change.json for change in self.changes])
        text = (
            f'{{"changes":[{changes}],"cursor":"{self.end.cursor()}",'
            f'"has_more":{"true" if self.has_more else "false"},"head_position":{self.head},'
            f'"from_position":{self.after + 1},"to_position":{self.end.position}}}'
        )
        return text.encode()


class ChangeFeed:
    """The feed over one database. Each call is a short read that holds no connection afterwards.

    Every call raises, in addition to the errors it documents:
        CursorOfOtherLedger, CursorAhead: 400.
        CursorGone, CursorOfLostEvent: 410.
        ConcurrencyLimited: 429.
        DatabaseUnavailable: 503.

    `cursor_version` is the newest cursor version that it writes. A page ends early at the size that `memory` allows.
    """

    def __init__(
        self, database: Database, *, cursor_version: int = WITH_EVENT, memory: PageMemory | None = None
    ) -> None:
        self.memory = memory or PageMemory()
        self._database = database
        self._cursor_version = cursor_version

    async def resolve_cursor(self, cursor: str | None, change_filter: ChangeFilter) -> FeedPosition:
        """The feed position of `cursor`, for a long-lived request.

        Without a cursor it is before the oldest event, for `latest` at the head.

        Raises:
            CursorInvalid, CursorOfOtherFilter: 400.
        """
        parsed = _parse_cursor(cursor)
        through = await self._database.watermark.bound()
        async with self._database.read() as session:
            head = await ChangeRepository(session, through).get_head(_position(parsed))
            start = self._resolve_cursor(head, parsed, change_filter)
            _check_kept(head, start)
            return start

    async def read_page(self, cursor: str | None, change_filter: ChangeFilter, *, limit: int) -> Page:
        """The page of at most `limit` changes after `cursor`; raises `CursorInvalid` or `CursorOfOtherFilter` (400)."""
        parsed = _parse_cursor(cursor)
        through = await self._database.watermark.bound()
        async with self._database.read() as session:
            repository = ChangeRepository(session, through, max_bytes=self.memory.slice_bytes(PAGE_BYTES))
            head = await repository.get_head(_position(parsed))
            return await _read_page(
                repository, head, self._resolve_cursor(head, parsed, change_filter), change_filter, limit
            )

    async def read_on(self, start: FeedPosition, change_filter: ChangeFilter, *, limit: int) -> Page:
        """The page of at most `limit` changes after `start`, for a long-lived request."""
        through = await self._database.watermark.bound()
        async with self._database.read() as session:
            repository = ChangeRepository(session, through, max_bytes=self.memory.slice_bytes(PAGE_BYTES))
            head = await repository.get_head(start.position)
            if start.cursors.ledger_id != head.ledger_id:
                raise CursorOfOtherLedger
            if start.position > head.position:
                raise CursorAhead
            _check_event(head, start)
            return await _read_page(repository, head, start, change_filter, limit)

    def _resolve_cursor(self, head: FeedHead, parsed: Cursor | str | None, change_filter: ChangeFilter) -> FeedPosition:
        cursors = CursorMaker(change_filter, head.ledger_id, self._cursor_version)
        match parsed:
            case None:
                return FeedPosition(head.before_oldest, None, cursors)
            case Cursor():
                cursors.check(parsed, head.position)
                start = FeedPosition(parsed.position, parsed.event_tag, cursors)
                _check_event(head, start)
                return replace(start, event_tag=tag_of(head.asked_event_id) or parsed.event_tag)
            case _:
                return FeedPosition(head.position, tag_of(head.event_id), cursors)


def _parse_cursor(cursor: str | None) -> Cursor | str | None:
    return cursor if cursor in (None, LATEST) else Cursor.decode(cursor)


def _position(parsed: Cursor | str | None) -> int:
    return parsed.position if isinstance(parsed, Cursor) else 0


async def _read_page(
    repository: ChangeRepository, head: FeedHead, start: FeedPosition, change_filter: ChangeFilter, limit: int
) -> Page:
    changes, through = await repository.list_after(change_filter, after=start.position, head=head.position, limit=limit)
    # Checked after the read: an event that is kept now was also kept during the read.
    now = await repository.get_head(through)
    _check_kept(now, start)
    if through == head.position:
        event_id = head.event_id
    else:
        event_id = changes[-1].event_id if changes and changes[-1].position == through else now.asked_event_id
    return Page(changes, start.position, start.moved_to(through, event_id), head.position)


def _check_kept(head: FeedHead, start: FeedPosition) -> None:
    if start.position < head.before_oldest:
        raise CursorGone(head.before_oldest + 1, start.moved_to(head.before_oldest, None).cursor())


def _check_event(head: FeedHead, start: FeedPosition) -> None:
    """Raise unless the event at `start`, which is the asked event of `head`, is the one the follower has read."""
    if are_of_different_events(start.event_tag, tag_of(head.asked_event_id)):
        raise CursorOfLostEvent(head.before_oldest + 1, start.moved_to(head.before_oldest, None).cursor())


def cut_page(changes: Iterable[Change], after: int, end: FeedPosition, limit: int, max_bytes: int) -> Page:
    """A page of the first `limit` of `changes`, which are all matching ones up to `end`.

    It ends early with the change that makes it about `max_bytes` or longer.
    """
    some: list[Change] = []
    size = 0
    for change in changes:
        if len(some) == limit or size >= max_bytes:
            return Page(some, after, end.moved_to(some[-1].position, some[-1].event_id), end.position)
        some.append(change)
        size += len(change.json)
    return Page(some, after, end, end.position)
