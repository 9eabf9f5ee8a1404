"""Waits for a page that is not empty."""

import asyncio
from dataclasses import replace

from app.changes.broadcast import Broadcast
from app.changes.feed import ChangeFeed
from app.changes.page import Page
from app.changes.tail import Tail
from app.changes.wanted import Wanted


async def wait_for_page(
    feed: ChangeFeed,
    tail: Tail,
    broadcast: Broadcast,
    first: Page,
    wanted: Wanted,
    *,
    limit: int,
    wait_seconds: float,
) -> Page:
    """`first` if there is anything on it, else the first page with a change within `wait_seconds`, else an empty one.

    The page begins where `first` began and goes as far as was looked. No connection is held while it waits.

    Raises:
        CursorOfOtherLedger, CursorAhead: 400, when the database was exchanged or lost its end meanwhile.
        CursorGone, CursorOfLostEvent: 410.
        DatabaseUnavailable: 503.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + wait_seconds
    page, breaks = first, tail.breaks
    while not page.changes and not tail.closing and now() < deadline:
        if not page.has_more:
            await tail.wait(page.end.position, deadline)
        place, known_breaks, breaks = page.end, breaks, tail.breaks
        known = broadcast.page_after(place, wanted, after=first.after, limit=limit) if breaks == known_breaks else None
        page = known or replace(await feed.read_on(place, wanted, limit=limit), after=first.after)
    return page
