"""Reads pages of the feed from the database."""

from app.changes.cursor import Cursor, CursorMaker
from app.changes.errors import CursorGone
from app.changes.page import Page
from app.changes.repository import ChangeRepository, FeedHead
from app.changes.wanted import Wanted
from app.database.engine import Database

LATEST = "latest"


class ChangeFeed:
    """The feed over one database. Each call is a short read that holds no connection afterwards."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_page(self, cursor: str | None, wanted: Wanted, *, limit: int) -> Page:
        """The page after `cursor`; without one that of the oldest events, with `latest` an empty one at the head.

        Raises:
            CursorInvalid, CursorOfOtherLedger, CursorOfOtherFilter, CursorAhead: 400.
            CursorGone: 410.
            DatabaseUnavailable: 503.
        """
        given = Cursor.decode(cursor) if cursor not in (None, LATEST) else None
        async with self._database.read() as session:
            repository = ChangeRepository(session)
            head = await repository.get_head()
            cursors = CursorMaker(wanted, head.ledger_id)
            if given is not None:
                after = cursors.position_of(given, head.position)
            elif cursor == LATEST:
                after = head.position
            else:
                after = await _before_oldest(repository, head)
            return await _read(repository, head, cursors, wanted, after=after, limit=limit)

    async def read_on(self, page: Page, wanted: Wanted, *, limit: int) -> Page:
        """The page after `page`.

        Raises:
            CursorOfOtherLedger, CursorAhead: 400, when the database was exchanged meanwhile.
            CursorGone: 410.
            DatabaseUnavailable: 503.
        """
        return await self.read_page(page.cursors.encode(page.through), wanted, limit=limit)


async def _read(
    repository: ChangeRepository, head: FeedHead, cursors: CursorMaker, wanted: Wanted, *, after: int, limit: int
) -> Page:
    changes, through = await repository.list_after(wanted, after=after, head=head.position, limit=limit)
    # Only now: what is still there after the events were read was there while they were.
    before_oldest = await _before_oldest(repository, head)
    if after < before_oldest:
        raise CursorGone(before_oldest + 1, cursors.encode(before_oldest))
    return Page(changes, after, through, head.position, cursors)


async def _before_oldest(repository: ChangeRepository, head: FeedHead) -> int:
    """The position before the oldest event that is kept."""
    oldest = await repository.find_oldest_position()
    return head.position if oldest is None else min(oldest - 1, head.position)
