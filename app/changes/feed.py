"""Reads the feed from the database."""

import asyncio

from app.changes.cursor import Cursor, CursorMaker
from app.changes.errors import CursorGone
from app.changes.page import Page
from app.changes.place import Place
from app.changes.repository import ChangeRepository, FeedHead
from app.changes.wanted import Wanted
from app.database.engine import Database

CATCHING_UP = 4  # followers that read on at once, so that they leave connections to everybody else


class ChangeFeed:
    """The feed over one database. Each call is a short read that holds no connection afterwards.

    Every call raises, beside what it says:
        CursorOfOtherLedger, CursorAhead: 400.
        CursorGone: 410.
        DatabaseUnavailable: 503.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._catching_up = asyncio.Semaphore(CATCHING_UP)

    async def find_place(self, cursor: str | None, wanted: Wanted) -> Place:
        """Where `cursor` is; without one, before the oldest event; with `latest`, at the head.

        Raises:
            CursorInvalid, CursorOfOtherFilter: 400.
        """
        async with self._database.read() as session:
            repository = ChangeRepository(session)
            head = await repository.get_head()
            place = await _find_place(repository, head, cursor, wanted)
            await _check_kept(repository, head, place)
            return place

    async def read_page(self, cursor: str | None, wanted: Wanted, *, limit: int) -> Page:
        """The page of at most `limit` changes after the place of `cursor`.

        Raises:
            CursorInvalid, CursorOfOtherFilter: 400.
        """
        async with self._database.read() as session:
            repository = ChangeRepository(session)
            head = await repository.get_head()
            place = await _find_place(repository, head, cursor, wanted)
            changes, through = await repository.list_after(
                wanted, after=place.position, head=head.position, limit=limit
            )
            # Only now: what is there after the events were read was there while they were.
            await _check_kept(repository, head, place)
            return Page(changes, place.position, place.moved_to(through), head.position)

    async def read_on(self, place: Place, wanted: Wanted, *, limit: int) -> Page:
        """The page after `place`, for a follower that stays; few of these are read at once."""
        async with self._catching_up:
            return await self.read_page(place.cursor(), wanted, limit=limit)


async def _find_place(repository: ChangeRepository, head: FeedHead, cursor: str | None, wanted: Wanted) -> Place:
    cursors = CursorMaker(wanted, head.ledger_id)
    match cursor:
        case None:
            position = await _before_oldest(repository, head)
        case "latest":
            position = head.position
        case _:
            position = cursors.position_of(Cursor.decode(cursor), head.position)
    return Place(position, cursors)


async def _check_kept(repository: ChangeRepository, head: FeedHead, place: Place) -> None:
    before_oldest = await _before_oldest(repository, head)
    if place.position < before_oldest:
        raise CursorGone(before_oldest + 1, place.moved_to(before_oldest).cursor())


async def _before_oldest(repository: ChangeRepository, head: FeedHead) -> int:
    """The position before the oldest event that is kept."""
    oldest = await repository.find_oldest_position()
    return head.position if oldest is None else min(oldest - 1, head.position)
