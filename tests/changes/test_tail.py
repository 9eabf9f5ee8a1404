"""The tail: idle without followers, patient while the database is unavailable; its ring has no gap and a bound."""

import asyncio
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from app.changes import tail as tail_module
from app.changes.cursor import EVERYTHING, Change, tag_of
from app.changes.feed import ChangeFeed
from app.changes.tail import OVERHEAD_BYTES, Ring, Tail
from app.database.engine import Database
from tests.changes.sse import open_stream
from tests.changes.support import fill
from tests.changes.test_stream import Start, take
from tests.support.marks import on_postgresql
from tests.support.postgres import PostgresServer
from tests.support.waiting import until


def soon() -> float:
    """A deadline that is not met unless something is wrong."""
    return asyncio.get_running_loop().time() + 30


@pytest.fixture
async def awake(tail: Tail) -> AsyncIterator[Tail]:
    """A tail with a follower that waits all the time; its first read is done."""

    async def wait() -> None:
        while True:
            await tail.wait(tail.end, soon())

    waiting = asyncio.create_task(wait())
    await until(lambda: tail.version > 0)
    yield tail
    waiting.cancel()


async def test_it_polls_the_database_only_while_a_follower_waits(tail: Tail, database: Database) -> None:
    statements: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    await asyncio.sleep(0.1)
    assert statements == []

    async def follow() -> None:
        while True:
            await tail.wait(0, soon())

    waiting = asyncio.create_task(follow())
    await until(lambda: len(statements) > 5)
    waiting.cancel()
    await asyncio.wait({waiting})
    await until(lambda: not tail.up_to_date)
    number = len(statements)
    await asyncio.sleep(0.1)
    assert len(statements) == number


async def test_a_waiting_follower_is_woken_and_finds_new_changes(awake: Tail, database: Database) -> None:
    start = await ChangeFeed(database).resolve_cursor("latest", EVERYTHING)
    for number in range(1, 5):
        waiting = asyncio.create_task(awake.wait(number - 1, soon()))
        await fill(database, 1)
        await waiting
        changes = awake.list_after(start.ledger_digest, 0, None)
        assert [change.position for change in changes or ()] == list(range(1, number + 1))


async def test_far_behind_it_restarts_at_the_head(
    awake: Tail, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "MAX_BEHIND_EVENTS", 10)
    waiting = asyncio.create_task(awake.wait(0, soon()))
    await fill(database, 11)
    await waiting
    assert awake.end == 11
    start = await ChangeFeed(database).resolve_cursor("latest", EVERYTHING)
    assert awake.list_after(start.ledger_digest, 10, None) is None


async def test_another_ledger_and_a_shorter_one_are_noticed(awake: Tail, database: Database) -> None:
    waiting = asyncio.create_task(awake.wait(2, soon()))
    await fill(database, 3)
    await waiting
    start = await ChangeFeed(database).resolve_cursor("latest", EVERYTHING)
    for change in (
        "UPDATE ledger_identity SET ledger_id = '7d3e1f584c1c4f0e9a440b7f4f6f2f11'",
        "DELETE FROM sync_events WHERE position > 1",
    ):
        breaks, waiting = awake.breaks, asyncio.create_task(awake.wait(3, soon()))
        async with database.transaction() as session:
            await session.execute(text(change))
        await waiting
        assert awake.breaks == breaks + 1
        assert awake.list_after(start.ledger_digest, 1, None) is None
    assert awake.end == 1


@on_postgresql
async def test_streams_outlive_an_outage_of_the_database(
    start_service: Start, frail_postgres: PostgresServer, outside: httpx.AsyncClient
) -> None:
    service = start_service(
        DATABASE_URL=frail_postgres.url("postgres"), CHANGES_KEEP_ALIVE="2", LOG_LEVEL="INFO", LOG_FORMAT="json"
    )

    async def post() -> None:
        event = {"file_id": "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11", "event_type": "upload"}

        async def is_posted() -> bool:
            return (await outside.post(f"{service.url}/sync-events", json=event)).status_code == 201

        await until(is_posted)

    await post()
    async with open_stream(outside, service.url) as stream:
        [first] = await take(stream, 1)
        frail_postgres.stop()
        try:
            await until(lambda: "followers wait for the database" in service.output())
            for _ in range(3):
                assert (await stream.next()).comment == "keep-alive"
            assert service.output().count("followers wait for the database") == 1
        finally:
            frail_postgres.start()
        await post()
        assert await take(stream, 1) == [first + 1]
        # The stream may read before the reader's next attempt, which comes only while a follower waits.
        await until(lambda: "followers are served again" in service.output())
    assert service.output().count("followers are served again") == 1
    assert "Traceback" not in service.output()


def change(position: int, size: int = 10) -> Change:
    return Change(position, uuid4(), "upload", uuid4(), "x" * size)


@given(st.integers(0, 50), st.lists(st.lists(st.integers(0, 500), max_size=5), max_size=20))
def test_what_is_listed_has_no_gap_and_fits(start: int, batches: list[list[int]]) -> None:
    ring, position = Ring(max_bytes=3000), start
    ring.restart(start, None)
    for sizes in batches:
        ring.extend([change(position + number, size) for number, size in enumerate(sizes, start=1)])
        position += len(sizes)
        assert ring.end == position
        kept = ring.list_after(ring.start, None)
        assert kept is not None
        assert [one.position for one in kept] == list(range(ring.start + 1, position + 1))
        assert sum(len(one.json) + OVERHEAD_BYTES for one in kept) <= 3000
        for after in range(position + 2):
            listed = ring.list_after(after, None)
            if ring.start <= after <= position:
                assert listed is not None
                assert [one.position for one in listed] == list(range(after + 1, position + 1))
            else:
                assert listed is None


def test_a_ring_restarts() -> None:
    ring = Ring(max_bytes=10_000)
    ring.extend([change(1), change(2)])
    ring.restart(70, tag_of(uuid4()))
    assert (ring.list_after(1, None), ring.list_after(70, None)) == (None, [])
    ring.extend([change(71)])
    assert [one.position for one in ring.list_after(70, None) or ()] == [71]


def test_a_position_with_another_event_has_nothing_after_it() -> None:
    events = [change(position) for position in range(1, 12)]
    ring = Ring(max_bytes=10 * (sys.getsizeof(events[0].json) + OVERHEAD_BYTES))
    ring.restart(0, None)
    ring.extend(events)
    assert (ring.start, ring.end, ring.end_tag) == (1, 11, tag_of(events[-1].event_id))
    for each in events:
        assert ring.list_after(each.position, tag_of(each.event_id)) == events[each.position :]
        assert ring.list_after(each.position, tag_of(uuid4())) is None
    ring.restart(11, tag_of(events[0].event_id))
    assert ring.list_after(11, tag_of(events[-1].event_id)) is None
