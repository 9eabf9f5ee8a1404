"""A ledger that loses its last events under a running process: no follower gets lost events or skips new ones."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, event, update

from app.changes.cursor import EVERYTHING, ChangeFilter, Cursor, CursorAhead, CursorOfLostEvent
from app.changes.feed import ChangeFeed, Page
from app.changes.service import wait_for_page
from app.changes.stream import Broadcast, ChangeStream
from app.changes.tail import Tail
from app.database.engine import Database
from app.events.models import LedgerHead, SyncEvent
from app.metrics import ChangeMetrics
from tests.changes.support import fill
from tests.support.waiting import until


async def lose_end(database: Database, last: int) -> None:
    """Lose the last events, as by the failover to a standby that had not received them."""
    async with database.transaction() as session:
        await session.execute(delete(SyncEvent).where(SyncEvent.position > last))
        await session.execute(update(LedgerHead).values(position=last))


class LateFeed(ChangeFeed):
    """Continues to read only after the ledger has lost events and has grown beyond its former end."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.grown = asyncio.Event()

    async def read(self, cursor: Cursor | str | None, change_filter: ChangeFilter, *, limit: int) -> Page:
        await self.grown.wait()
        return await super().read(cursor, change_filter, limit=limit)


async def fall_and_grow(database: Database, tail: Tail, feed: LateFeed) -> None:
    await until(lambda: tail.up_to_date and tail.end == 10)
    await lose_end(database, 7)
    await until(lambda: tail.end == 7)
    await fill(database, 6)
    feed.grown.set()


async def open_stream(
    database: Database, tail: Tail, cursor: str = "latest", feed: ChangeFeed | None = None
) -> AsyncIterator[bytes]:
    feed = feed or ChangeFeed(database)
    start = await feed.resolve_cursor(cursor, EVERYTHING)
    return ChangeStream(
        feed,
        Broadcast(tail),
        start=start,
        change_filter=EVERYTHING,
        expires_at=asyncio.get_running_loop().time() + 60,
        keep_alive_seconds=30,
        metrics=ChangeMetrics(),
    ).messages()


async def follow_once(tail: Tail, database: Database, events: int) -> None:
    """Let one follower wait until the ring has so many events, and then leave."""

    async def follow() -> None:
        while tail.end < events:
            await tail.wait(tail.end, asyncio.get_running_loop().time() + 30)

    following = asyncio.create_task(follow())
    await fill(database, events)
    await following
    await until(lambda: not tail.up_to_date)


async def test_a_stream_does_not_get_lost_events(tail: Tail, database: Database) -> None:
    await follow_once(tail, database, 10)
    await lose_end(database, 7)
    stream = await open_stream(database, tail)
    await anext(stream)
    coming = asyncio.ensure_future(anext(stream))
    await until(lambda: tail.up_to_date and tail.end == 7)
    assert not coming.done()
    await fill(database, 1)
    assert b'"position":8' in (await coming).replace(b" ", b"")


async def test_a_follower_beyond_the_end_does_not_poll_the_database(tail: Tail, database: Database) -> None:
    await follow_once(tail, database, 10)
    await lose_end(database, 7)
    statements: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    stream = await open_stream(database, tail)
    await anext(stream)
    coming = asyncio.ensure_future(anext(stream))
    await until(lambda: tail.up_to_date and tail.end == 7)
    before, looks = len([one for one in statements if "sync_events" in one]), len(statements)
    await until(lambda: len(statements) >= looks + 20)  # the reader's own looks at the head
    assert len([one for one in statements if "metadata" in one and "sync_events" in one]) <= before
    coming.cancel()


async def test_a_stream_beyond_the_end_gets_cursor_ahead(tail: Tail, database: Database) -> None:
    await fill(database, 10)
    stream = await open_stream(database, tail)
    await anext(stream)
    coming = asyncio.ensure_future(anext(stream))
    await until(lambda: tail.up_to_date and tail.end == 10)
    await lose_end(database, 7)
    assert b"cursor-ahead" in await coming


async def test_a_stream_skips_nothing(tail: Tail, database: Database) -> None:
    await fill(database, 10)
    feed = LateFeed(database)
    stream = await open_stream(database, tail, feed=feed)
    await anext(stream)
    coming = asyncio.ensure_future(anext(stream))
    feed.grown.set()
    await until(lambda: tail.up_to_date)
    feed.grown.clear()
    await fall_and_grow(database, tail, feed)
    assert b"cursor-of-lost-event" in await coming


async def test_a_long_poll_skips_nothing(tail: Tail, database: Database) -> None:
    await fill(database, 10)
    feed = LateFeed(database)
    first = await ChangeFeed(database).read("latest", EVERYTHING, limit=10)
    poll = asyncio.create_task(_poll(feed, tail, first))
    await fall_and_grow(database, tail, feed)
    with pytest.raises(CursorOfLostEvent):
        await poll


async def _poll(feed: ChangeFeed, tail: Tail, first: Page) -> Page:
    return await wait_for_page(feed, Broadcast(tail), first, EVERYTHING, limit=10, wait_seconds=30)


async def test_a_follower_ahead_of_the_reader_gets_cursor_ahead(tail: Tail, database: Database) -> None:
    await fill(database, 10)
    feed = ChangeFeed(database)
    first = await feed.read("latest", EVERYTHING, limit=10)
    await lose_end(database, 7)  # before the reader has ever looked
    with pytest.raises(CursorAhead):
        await _poll(feed, tail, first)
