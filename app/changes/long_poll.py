"""Waits for a page that is not empty."""

import asyncio
from dataclasses import replace

from app.changes.errors import CursorAhead
from app.changes.feed import ChangeFeed
from app.changes.page import Page
from app.changes.place import Place
from app.changes.tail import Tail
from app.changes.wanted import Wanted


async def wait_for_page(
    feed: ChangeFeed, tail: Tail, first: Page, wanted: Wanted, *, limit: int, wait_seconds: float
) -> Page:
    """`first` if there is anything on it, else the first page with a change within `wait_seconds`, else an empty one.

    The page begins where `first` began and goes as far as was looked. No connection is held while it waits.

    Raises:
        CursorOfOtherLedger, CursorAhead: 400, when the database was exchanged or lost its end meanwhile.
        CursorGone: 410.
        DatabaseUnavailable: 503.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + wait_seconds
    page, breaks = first, tail.breaks
    while not page.changes and not tail.closing and now() < deadline:
        if not page.has_more:
            await tail.wait(page.end.position, deadline)
        place, known_breaks, breaks = page.end, breaks, tail.breaks
        known = _read_ring(tail, place, wanted, limit) if breaks == known_breaks else None
        page = known or await feed.read_on(place, wanted, limit=limit)
        if tail.has_fallen_below(place.position, known_breaks):
            raise CursorAhead
    return replace(page, after=first.after)


def _read_ring(tail: Tail, place: Place, wanted: Wanted, limit: int) -> Page | None:
    """The page after `place`, if the ring has it."""
    changes = tail.list_after(place.cursors.ledger_id, place.position)
    if changes is None:
        return None
    matching = [change for change in changes if wanted.matches(change)]
    head = max(place.position, tail.end)
    through = matching[limit - 1].position if len(matching) > limit else head
    return Page(matching[:limit], place.position, place.moved_to(through), head)
