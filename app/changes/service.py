"""The change feed as the routes use it: pages, long polls and streams."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from app.auth.token import Principal
from app.changes.cursor import ChangeFilter
from app.changes.feed import ChangeFeed, Page
from app.changes.stream import Broadcast, ChangeStream
from app.changes.tail import Tail
from app.concurrency.fair_semaphore import FairSemaphore, caller
from app.config import Settings
from app.database.engine import Database
from app.errors import Unavailable
from app.http.pages import PAGE_BYTES, PageMemory
from app.metrics import ChangeMetrics


class TooManyFollowers(Unavailable):
    """503: the follower limit of this process is reached."""

    code = "too-many-followers"
    detail = "Too many streams and long polls are open here; try again, or read pages without `wait`."


class ChangeService:
    """Serves all readers of one process. `on_reject` is called for each follower that is refused."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        metrics: ChangeMetrics,
        memory: PageMemory,
        on_reject: Callable[[], None],
    ) -> None:
        self._feed = ChangeFeed(database, cursor_version=settings.changes_cursor_version, memory=memory)
        tail = Tail(database, poll_interval_seconds=settings.changes_poll_interval, metrics=metrics)
        self._broadcast = Broadcast(tail)
        self._followers = FairSemaphore(
            settings.max_change_streams,
            resource="streams and long polls",
            busy=TooManyFollowers,
            timeout_seconds=settings.database_pool_timeout,
            on_reject=on_reject,
        )
        self._keep_alive_seconds = settings.changes_keep_alive
        self._metrics = metrics
        self.start = tail.start
        self.close = tail.close
        self.stop = tail.stop

    @asynccontextmanager
    async def follower_slot(self, kind: str) -> AsyncIterator[None]:
        """Hold a follower slot for a `stream` or a `long_poll` while the block runs.

        Raises:
            ConcurrencyLimited: 429.
            TooManyFollowers: 503.
        """
        async with self._followers.hold(caller.get() or ""):
            self._metrics.followers[kind].inc()
            try:
                yield
            finally:
                self._metrics.followers[kind].dec()

    async def read_page(self, cursor: str | None, change_filter: ChangeFilter, *, limit: int) -> Page:
        return self._count(await self._feed.read(cursor, change_filter, limit=limit))

    async def wait_for_page(self, first: Page, change_filter: ChangeFilter, *, limit: int, wait_seconds: float) -> Page:
        """The first page with changes after the empty page `first`; see the function `wait_for_page`."""
        page = await wait_for_page(
            self._feed, self._broadcast, first, change_filter, limit=limit, wait_seconds=wait_seconds
        )
        return self._count(page)

    async def open_stream(
        self, cursor: str | None, change_filter: ChangeFilter, reader: Principal
    ) -> AsyncIterator[bytes]:
        """The messages of a stream that begins after `cursor` and ends no later than the token of `reader`.

        Raises:
            As `ChangeFeed.resolve_cursor`.
        """
        start = await self._feed.resolve_cursor(cursor, change_filter)
        stream = ChangeStream(
            self._feed,
            self._broadcast,
            start=start,
            change_filter=change_filter,
            expires_at=asyncio.get_running_loop().time() + reader.refused_from - time.time(),
            keep_alive_seconds=self._keep_alive_seconds,
            metrics=self._metrics,
        )
        return stream.messages()

    def _count(self, page: Page) -> Page:
        self._metrics.sent["page"].inc(len(page.changes))
        return page


async def wait_for_page(
    feed: ChangeFeed, broadcast: Broadcast, first: Page, change_filter: ChangeFilter, *, limit: int, wait_seconds: float
) -> Page:
    """`first` if it has changes, else the first page with changes within `wait_seconds`, else an empty page.

    The page begins where `first` began and ends where the feed was examined. No connection is held during the wait.

    Raises:
        CursorOfOtherLedger, CursorAhead: 400, when the database was replaced or lost its last events meanwhile.
        CursorGone, CursorOfLostEvent: 410.
        DatabaseUnavailable: 503.
    """
    tail, now = broadcast.tail, asyncio.get_running_loop().time
    deadline = now() + wait_seconds
    page, breaks = first, tail.breaks
    while not page.changes and not tail.closing and now() < deadline:
        if not page.has_more:
            await tail.wait(page.end.position, deadline)
        start, known_breaks, breaks = page.end, breaks, tail.breaks
        known = None
        if breaks == known_breaks:
            max_bytes = feed.memory.slice_bytes(PAGE_BYTES)
            known = broadcast.page_after(start, change_filter, after=first.after, limit=limit, max_bytes=max_bytes)
        page = known or replace(await feed.read(start, change_filter, limit=limit), after=first.after)
    return page
