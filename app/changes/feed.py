"""Reads the feed from the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.changes.cursor import Cursor, CursorMaker
from app.changes.errors import CursorGone
from app.changes.page import Page
from app.changes.place import Place
from app.changes.repository import ChangeRepository, FeedHead
from app.changes.wanted import Wanted
from app.database.engine import Database
from app.database.errors import database_errors

STAYING_READERS = 4  # followers that stay read so many at once, so that they leave connections to everybody else


class ChangeFeed:
    """The feed over one database. Each call is a short read that holds no connection afterwards.

    Every call raises, beside what it says:
        CursorOfOtherLedger, CursorAhead: 400.
        CursorGone: 410.
        DatabaseUnavailable: 503.
    """

    def __init__(self, database: Database, *, queue_timeout_seconds: float = 3) -> None:
        self._database = database
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
        async with self._turn(), self._database.read() as session:
            head = await ChangeRepository(session).get_head()
            place = _find_place(head, cursor, wanted)
            _check_kept(head, place)
            return place

    async def read_page(self, cursor: str | None, wanted: Wanted, *, limit: int) -> Page:
        """The page of at most `limit` changes after the place of `cursor`.

        Raises:
            CursorInvalid, CursorOfOtherFilter: 400.
        """
        async with self._database.read() as session:
            repository = ChangeRepository(session)
            head = await repository.get_head()
            place = _find_place(head, cursor, wanted)
            changes, through = await repository.list_after(
                wanted, after=place.position, head=head.position, limit=limit
            )
            # Only now: what is there after the events were read was there while they were.
            _check_kept(await repository.get_head(), place)
            return Page(changes, place.position, place.moved_to(through), head.position)

    async def read_on(self, place: Place, wanted: Wanted, *, limit: int) -> Page:
        """The page after `place`, for a follower that stays."""
        async with self._turn():
            return await self.read_page(place.cursor(), wanted, limit=limit)


def _find_place(head: FeedHead, cursor: str | None, wanted: Wanted) -> Place:
    cursors = CursorMaker(wanted, head.ledger_id)
    match cursor:
        case None:
            position = head.before_oldest
        case "latest":
            position = head.position
        case _:
            position = cursors.position_of(Cursor.decode(cursor), head.position)
    return Place(position, cursors)


def _check_kept(head: FeedHead, place: Place) -> None:
    if place.position < head.before_oldest:
        raise CursorGone(head.before_oldest + 1, place.moved_to(head.before_oldest).cursor())
