"""A stream that is behind reads about as much as it sends."""

import asyncio

from app.changes.cursor import EVERYTHING, ChangeFilter, Cursor
from app.changes.feed import ChangeFeed, Page
from app.changes.stream import CHUNK_BYTES, FIRST_CHANGES, MAX_CHANGES, Broadcast, ChangeStream
from app.changes.tail import Tail
from app.database.engine import Database
from app.metrics import ChangeMetrics
from tests.events.support import open_ledger, record
from tests.support.marks import on_sqlite


class CountingFeed(ChangeFeed):
    """Notes how many changes each read gave."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.reads: list[int] = []

    async def read(self, cursor: Cursor | str | None, change_filter: ChangeFilter, *, limit: int) -> Page:
        page = await super().read(cursor, change_filter, limit=limit)
        self.reads.append(len(page.changes))
        return page


async def catch_up(database: Database, *metadata_characters: int) -> list[int]:
    """What each read gave for one stream of events with so long metadata."""
    texts = ["x" * characters for characters in metadata_characters]
    await open_ledger(database).append([record(metadata=f'{{"text":"{text}"}}') for text in texts])
    feed, tail = CountingFeed(database), Tail(database, poll_interval_seconds=0.01)
    messages = ChangeStream(
        feed,
        Broadcast(tail),
        start=await feed.resolve_cursor(None, EVERYTHING),
        change_filter=EVERYTHING,
        expires_at=asyncio.get_running_loop().time() + 60,
        keep_alive_seconds=60,
        metrics=ChangeMetrics(),
    ).messages()
    seen = 0
    while seen < len(texts):
        message = await anext(messages)
        assert len(message) < CHUNK_BYTES + 17_000
        seen += message.count(b"event: change")

    return feed.reads


async def test_of_long_events_next_to_nothing_is_read_twice(database: Database) -> None:
    reads = await catch_up(database, *[16_000] * 60)
    assert sum(reads) < 60 + FIRST_CHANGES


async def test_of_short_events_many_are_read_at_once(database: Database) -> None:
    first, *others, _last = await catch_up(database, *[10] * 310)
    assert first == FIRST_CHANGES
    assert all(70 < number <= MAX_CHANGES for number in others)


@on_sqlite
async def test_the_number_follows_the_size(database: Database) -> None:
    reads = await catch_up(database, *[10] * 200, *[16_000] * 20, *[10] * 200)
    assert sum(reads) < 420 + 2 * MAX_CHANGES
    assert max(reads[-3:]) > 50
