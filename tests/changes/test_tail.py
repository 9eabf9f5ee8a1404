"""The one reader: idle while nobody waits, patient while the database is away, and never ahead of what it has read."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import event, text

from app.changes import tail as tail_module
from app.changes.feed import ChangeFeed
from app.changes.tail import Tail
from app.changes.wanted import EVERYTHING
from app.database.engine import Database
from tests.changes.support import fill
from tests.changes.test_stream import Start, take
from tests.support.postgres import PostgresServer
from tests.support.sse import open_stream
from tests.support.waiting import until


def soon() -> float:
    """A deadline that is not met unless something is wrong."""
    return asyncio.get_running_loop().time() + 30


@pytest.fixture
async def awake(tail: Tail) -> AsyncIterator[Tail]:
    """The same while somebody waits all the time, from when it has looked at the head."""

    async def wait() -> None:
        while True:
            await tail.wait(tail.end, soon())

    waiting = asyncio.create_task(wait())
    await until(lambda: tail.version > 0)
    yield tail
    waiting.cancel()


async def test_it_asks_the_database_only_while_somebody_waits(tail: Tail, database: Database) -> None:
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
    await asyncio.sleep(0.1)
    number = len(statements)
    await asyncio.sleep(0.1)
    assert len(statements) == number


async def test_who_waits_is_woken_and_finds_what_is_new(awake: Tail, database: Database) -> None:
    place = await ChangeFeed(database).find_place("latest", EVERYTHING)
    for number in range(1, 5):
        waiting = asyncio.create_task(awake.wait(number - 1, soon()))
        await fill(database, 1)
        await waiting
        changes = awake.list_after(place.cursors.ledger_id, 0, None)
        assert [change.position for change in changes or ()] == list(range(1, number + 1))


async def test_far_behind_it_begins_anew_at_the_head(
    awake: Tail, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "MAX_BEHIND_EVENTS", 10)
    waiting = asyncio.create_task(awake.wait(0, soon()))
    await fill(database, 11)
    await waiting
    assert awake.end == 11
    place = await ChangeFeed(database).find_place("latest", EVERYTHING)
    assert awake.list_after(place.cursors.ledger_id, 10, None) is None


async def test_another_ledger_and_a_shorter_one_are_noticed(awake: Tail, database: Database) -> None:
    waiting = asyncio.create_task(awake.wait(2, soon()))
    await fill(database, 3)
    await waiting
    place = await ChangeFeed(database).find_place("latest", EVERYTHING)
    for change in (
        "ledger_identity SET ledger_id = '7d3e1f584c1c4f0e9a440b7f4f6f2f11'",
        "ledger_head SET position = 1",
    ):
        breaks, waiting = awake.breaks, asyncio.create_task(awake.wait(3, soon()))
        async with database.transaction() as session:
            await session.execute(text(f"UPDATE {change}"))
        await waiting
        assert awake.breaks == breaks + 1
        assert awake.list_after(place.cursors.ledger_id, 1, None) is None
    assert awake.end == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
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
        # The stream may have read on by itself before the reader's next attempt, which comes only while somebody waits.
        await until(lambda: "followers are served again" in service.output())
    assert service.output().count("followers are served again") == 1
    assert "Traceback" not in service.output()
