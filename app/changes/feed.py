"""Reads pages of the feed from the database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fastapi.sse import format_sse_event

from app.changes.cursor import (
    WITH_EVENT,
    Change,
    ChangeFilter,
    Cursor,
    CursorGone,
    CursorOfLostEvent,
    are_of_different_events,
    ledger_digest,
    tag_of,
)
from app.changes.repository import ChangeRepository, FeedHead
from app.database.engine import Database
from app.http.pages import PAGE_BYTES, PageMemory

LATEST = "latest"
CHANGE_EVENT = "change"


@dataclass(frozen=True)
class Page:
    """All matching changes after the position `after`, up to `end`; `head` is the last position of the ledger then."""

    changes: Sequence[Change]
    after: int
    end: Cursor
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
            f'{{"changes":[{changes}],"cursor":"{self.end.encode()}",'
            f'"has_more":{"true" if self.has_more else "false"},"head_position":{self.head},'
            f'"from_position":{self.after + 1},"to_position":{self.end.position}}}'
        )
        return text.encode()

    @cached_property
    def messages(self) -> bytes:
        """The changes as server-sent events; encoded once for all streams that share the page."""
        parts: list[bytes] = []
        for change in self.changes:
            cursor = self.end.moved_to(change.position, change.event_id).encode()
            parts.append(format_sse_event(data_str=change.json, event=CHANGE_EVENT, id=cursor))
        return b"".join(parts)


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

    async def resolve_cursor(self, cursor: str | None, change_filter: ChangeFilter) -> Cursor:
        """The decoded and checked `cursor`, for a long-lived request.

        Without a cursor it is the one before the oldest event, for `latest` the one at the head.

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

    async def read(self, cursor: Cursor | str | None, change_filter: ChangeFilter, *, limit: int) -> Page:
        """The page of at most `limit` changes after `cursor`.

        Raises:
            CursorInvalid, CursorOfOtherFilter: 400.
        """
        parsed = _parse_cursor(cursor)
        through = await self._database.watermark.bound()
        async with self._database.read() as session:
            repository = ChangeRepository(session, through, max_bytes=self.memory.slice_bytes(PAGE_BYTES))
            head = await repository.get_head(_position(parsed))
            start = self._resolve_cursor(head, parsed, change_filter)
            changes, end = await repository.list_after(
                change_filter, after=start.position, head=head.position, limit=limit
            )
            # Checked after the read: an event that is kept now was also kept during the read.
            now = await repository.get_head(end)
        _check_kept(now, start)
        if end == head.position:
            event_id = head.event_id
        else:
            event_id = changes[-1].event_id if changes and changes[-1].position == end else now.asked_event_id
        return Page(changes, start.position, start.moved_to(end, event_id), head.position)

    def _resolve_cursor(self, head: FeedHead, parsed: Cursor | str | None, change_filter: ChangeFilter) -> Cursor:
        if isinstance(parsed, Cursor):
            parsed.check(change_filter, head.ledger_id, head.position)
            tag = tag_of(head.asked_event_id)
            if are_of_different_events(parsed.event_tag, tag):
                raise CursorOfLostEvent(head.before_oldest + 1, parsed.moved_to(head.before_oldest, None).encode())
            return replace(parsed, event_tag=tag or parsed.event_tag, version=self._cursor_version)
        digests = change_filter.digest(), ledger_digest(head.ledger_id)
        oldest = Cursor(head.before_oldest, None, *digests, self._cursor_version)
        return oldest.moved_to(head.position, head.event_id) if parsed == LATEST else oldest


def _parse_cursor(cursor: Cursor | str | None) -> Cursor | str | None:
    return Cursor.decode(cursor) if isinstance(cursor, str) and cursor != LATEST else cursor


def _position(parsed: Cursor | str | None) -> int:
    return parsed.position if isinstance(parsed, Cursor) else 0


def _check_kept(head: FeedHead, start: Cursor) -> None:
    if start.position < head.before_oldest:
        raise CursorGone(head.before_oldest + 1, start.moved_to(head.before_oldest, None).encode())


def cut_page(changes: Iterable[Change], after: int, end: Cursor, limit: int, max_bytes: int) -> Page:
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
