"""Reads the feed from the database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from app.changes.change import Change, Wanted
from app.changes.cursor import WITH_EVENT, Cursor, CursorMaker, Place, are_of_different_events, tag_of
from app.changes.errors import CursorAhead, CursorGone, CursorOfLostEvent, CursorOfOtherLedger
from app.changes.repository import ChangeRepository, FeedHead
from app.database.engine import Database
from app.database.errors import database_errors

LATEST = "latest"
STAYING_READERS = 4  # followers that stay read so many at once, so that they leave connections to everybody else


@dataclass(frozen=True)
class Page:
    """Every wanted change after the position `after`, up to `end`; `head` is the ledger's last position then."""

    changes: Sequence[Change]
    after: int
    end: Place
    head: int

    @property
    def has_more(self) -> bool:
        """Whether the ledger goes on."""
        return self.end.position < self.head

    def encode(self) -> bytes:
        """The page as JSON, a `ChangePage`; the same bytes for all who share the page."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        changes = ",".join([change.json for change in self.changes])
        text = (
            f'{{"changes":[{changes}],"cursor":"{self.end.cursor()}",'
            f'"has_more":{"true" if self.has_more else "false"},"head_position":{self.head},'
            f'"from_position":{self.after + 1},"to_position":{self.end.position}}}'
        )
        return text.encode()


class ChangeFeed:
    """The feed over one database. Each call is a short read that holds no connection afterwards.

    Every call raises, beside what it says:
        CursorOfOtherLedger, CursorAhead: 400.
        CursorGone, CursorOfLostEvent: 410.
        DatabaseUnavailable: 503.

    `cursor_version` is the newest version of cursors that it writes.
    """

    def __init__(
        self, database: Database, *, queue_timeout_seconds: float = 3, cursor_version: int = WITH_EVENT
    ) -> None:
        self._database = database
        self._cursor_version = cursor_version
        self._few = asyncio.Semaphore(STAYING_READERS)
        self._queue_timeout_seconds = queue_timeout_seconds

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Be one of the few; who waits too long for it has met a database that can not serve now."""
        with database_errors():
            async with asyncio.timeout(self._queue_timeout_seconds):
                await self._few.acquire()
        try:
            yield
        finally:
            self._few.release()

    async def find_place(self, cursor: str | None, wanted: Wanted) -> Place:
        """Where `cursor` is: without one before the oldest event, with `latest` at the head. For a follower that stays.

        Raises:
            CursorInvalid, CursorOfOtherFilter: 400.
        """
        start = _read_start(cursor)
        through = await self._database.watermark.bound()
        async with self._turn(), self._database.read() as session:
            head = await ChangeRepository(session, through).get_head(_position(start))
            place = self._find_place(head, start, wanted)
            _check_kept(head, place)
            return place

    async def read_page(self, cursor: str | None, wanted: Wanted, *, limit: int) -> Page:
        """The page of at most `limit` changes after the place of `cursor`.

        Raises:
            CursorInvalid, CursorOfOtherFilter: 400.
        """
        start = _read_start(cursor)
        through = await self._database.watermark.bound()
        async with self._database.read() as session:
            repository = ChangeRepository(session, through)
            head = await repository.get_head(_position(start))
            return await _read_page(repository, head, self._find_place(head, start, wanted), wanted, limit)

    async def read_on(self, place: Place, wanted: Wanted, *, limit: int) -> Page:
        """The page after `place`, for a follower that stays."""
        through = await self._database.watermark.bound()
        async with self._turn(), self._database.read() as session:
            repository = ChangeRepository(session, through)
            head = await repository.get_head(place.position)
            if place.cursors.ledger_id != head.ledger_id:
                raise CursorOfOtherLedger
            if place.position > head.position:
                raise CursorAhead
            _check_event(head, place)
            return await _read_page(repository, head, place, wanted, limit)

    def _find_place(self, head: FeedHead, start: Cursor | str | None, wanted: Wanted) -> Place:
        cursors = CursorMaker(wanted, head.ledger_id, self._cursor_version)
        match start:
            case None:
                return Place(head.before_oldest, None, cursors)
            case Cursor():
                cursors.check(start, head.position)
                place = Place(start.position, start.event_tag, cursors)
                _check_event(head, place)
                return replace(place, event_tag=tag_of(head.asked_event_id) or start.event_tag)
            case _:
                return Place(head.position, tag_of(head.event_id), cursors)


def _read_start(cursor: str | None) -> Cursor | str | None:
    return cursor if cursor in (None, LATEST) else Cursor.decode(cursor)


def _position(start: Cursor | str | None) -> int:
    return start.position if isinstance(start, Cursor) else 0


async def _read_page(repository: ChangeRepository, head: FeedHead, place: Place, wanted: Wanted, limit: int) -> Page:
    changes, through = await repository.list_after(wanted, after=place.position, head=head.position, limit=limit)
    # Only now: what is there after the events were read was there while they were.
    now = await repository.get_head(through)
    _check_kept(now, place)
    if through == head.position:
        event_id = head.event_id
    else:
        event_id = changes[-1].event_id if changes and changes[-1].position == through else now.asked_event_id
    return Page(changes, place.position, place.moved_to(through, event_id), head.position)


def _check_kept(head: FeedHead, place: Place) -> None:
    if place.position < head.before_oldest:
        raise CursorGone(head.before_oldest + 1, place.moved_to(head.before_oldest, None).cursor())


def _check_event(head: FeedHead, place: Place) -> None:
    """Make sure that the event at `place`, which the head was asked for, is the one that was read there."""
    if are_of_different_events(place.event_tag, tag_of(head.asked_event_id)):
        raise CursorOfLostEvent(head.before_oldest + 1, place.moved_to(head.before_oldest, None).cursor())
