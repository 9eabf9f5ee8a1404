"""The change feed as the routes use it: pages, long polls and streams."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from app.auth.token import Principal
from app.changes.broadcast import Broadcast
from app.changes.change import Wanted
from app.changes.errors import TooManyFollowers
from app.changes.feed import ChangeFeed, Page
from app.changes.stream import ChangeStream
from app.changes.tail import Tail
from app.config import Settings
from app.database.engine import Database
from app.metrics import ChangeMetrics


class Room:
    """There are `limit` places; `on_reject` is called for each follower that finds none."""

    def __init__(self, limit: int, metrics: ChangeMetrics, on_reject: Callable[[], None]) -> None:
        self._limit = limit
        self._taken = 0
        self._metrics = metrics
        self._on_reject = on_reject

    @contextmanager
    def place(self, kind: str) -> Iterator[None]:
        """A place for a `stream` or a `long_poll` while the block runs.

        Raises:
            TooManyFollowers: 503.
        """
        if self._taken >= self._limit:
            self._on_reject()
            raise TooManyFollowers
        self._taken += 1
        self._metrics.followers[kind].inc()
        try:
            yield
        finally:
            self._taken -= 1
            self._metrics.followers[kind].dec()


class ChangeService:
    """Reads for all followers of one process. `on_reject` is called for each that finds no place."""

    def __init__(
        self, database: Database, settings: Settings, metrics: ChangeMetrics, on_reject: Callable[[], None]
    ) -> None:
        self._feed = ChangeFeed(
            database,
            queue_timeout_seconds=settings.database_pool_timeout,
            cursor_version=settings.changes_cursor_version,
        )
        self._tail = Tail(database, poll_interval_seconds=settings.changes_poll_interval, metrics=metrics)
        self._broadcast = Broadcast(self._tail)
        self._room = Room(settings.max_change_streams, metrics, on_reject)
        self._keep_alive_seconds = settings.changes_keep_alive
        self._metrics = metrics
        self.start = self._tail.start
        self.close = self._tail.close
        self.stop = self._tail.stop

    def place(self, kind: str) -> AbstractContextManager[None]:
        """A place for a `stream` or a `long_poll` while the block runs.

        Raises:
            TooManyFollowers: 503.
        """
        return self._room.place(kind)

    async def read_page(self, cursor: str | None, wanted: Wanted, *, limit: int) -> Page:
        """The page after `cursor`; see `ChangeFeed.read_page`."""
        return self._count(await self._feed.read_page(cursor, wanted, limit=limit))

    async def wait_for_page(self, first: Page, wanted: Wanted, *, limit: int, wait_seconds: float) -> Page:
        """A page with changes instead of the empty page `first`, if any come; see `wait_for_page`."""
        page = await wait_for_page(
            self._feed, self._tail, self._broadcast, first, wanted, limit=limit, wait_seconds=wait_seconds
        )
        return self._count(page)

    async def open_stream(self, cursor: str | None, wanted: Wanted, reader: Principal) -> AsyncIterator[bytes]:
        """The messages of a stream that begins after `cursor` and ends no later than the token of `reader`.

        Raises:
            As `ChangeFeed.find_place`.
        """
        place = await self._feed.find_place(cursor, wanted)
        stream = ChangeStream(
            self._feed,
            self._tail,
            self._broadcast,
            place=place,
            wanted=wanted,
            expires_at=asyncio.get_running_loop().time() + reader.refused_from - time.time(),
            keep_alive_seconds=self._keep_alive_seconds,
            metrics=self._metrics,
        )
        return stream.messages()

    def _count(self, page: Page) -> Page:
        self._metrics.sent["page"].inc(len(page.changes))
        return page


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
