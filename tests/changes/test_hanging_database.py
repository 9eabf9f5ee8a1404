"""A database that hangs: requests fail soon, and streams continue with keep-alives."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.changes.cursor import EVERYTHING
from app.changes.feed import ChangeFeed
from app.changes.stream import Broadcast, ChangeStream
from app.changes.tail import Tail
from app.database.engine import Database
from app.metrics import ChangeMetrics
from tests.changes.sse import Message, open_stream
from tests.changes.support import fill
from tests.changes.test_stream import Start, take
from tests.conftest import Alembic, MakeSettings
from tests.support.marks import on_postgresql
from tests.support.postgres import PostgresServer
from tests.support.waiting import until


class HangingDatabase(Database):
    """Hangs while `responsive` is not set. Counts the reads in `reads`."""

    def __init__(self, make_settings: MakeSettings) -> None:
        super().__init__(make_settings())
        self.responsive = asyncio.Event()
        self.responsive.set()
        self.reads = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        self.reads += 1
        await self.responsive.wait()
        async with super().read() as session:
            yield session


@pytest.fixture
async def hanging(make_settings: MakeSettings) -> AsyncIterator[HangingDatabase]:
    """The database under test, which does not hang yet."""
    database = HangingDatabase(make_settings)
    yield database
    await database.close()


class Stream:
    """A stream that has begun, and whose next read hangs."""

    def __init__(self, hanging: HangingDatabase) -> None:
        self._hanging = hanging
        self.tail = Tail(hanging, poll_interval_seconds=0.01)

    async def open(self, *, lasts_seconds: float = 60, keep_alive_seconds: float = 60) -> AsyncIterator[bytes]:
        feed = ChangeFeed(self._hanging)
        messages = ChangeStream(
            feed,
            Broadcast(self.tail),
            start=await feed.resolve_cursor(None, EVERYTHING),
            change_filter=EVERYTHING,
            expires_at=asyncio.get_running_loop().time() + lasts_seconds,
            keep_alive_seconds=keep_alive_seconds,
            metrics=ChangeMetrics(),
        ).messages()
        await anext(messages)
        self._hanging.responsive.clear()
        return messages


@pytest.fixture
async def stream(hanging: HangingDatabase) -> Stream:
    """A stream to open."""
    return Stream(hanging)


async def test_keep_alives_continue_during_one_read(hanging: HangingDatabase, stream: Stream) -> None:
    await fill(hanging, 1)
    messages = await stream.open(keep_alive_seconds=0.01)
    reads = hanging.reads
    async with asyncio.timeout(20):
        for _ in range(3):
            assert b"keep-alive" in await anext(messages)
        assert hanging.reads == reads + 1
        hanging.responsive.set()
        while b"event: change" not in (message := await anext(messages)):
            assert b"keep-alive" in message
    assert hanging.reads == reads + 1


async def test_the_token_expires_during_a_read(stream: Stream) -> None:
    messages = await stream.open(lasts_seconds=0.05)
    async with asyncio.timeout(20):
        assert b"token-expired" in await anext(messages)


async def test_the_process_ends_during_a_read(hanging: HangingDatabase, stream: Stream) -> None:
    messages = await stream.open()
    reads = hanging.reads
    coming = asyncio.ensure_future(anext(messages))
    await until(lambda: hanging.reads > reads)
    stream.tail.close()
    async with asyncio.timeout(20):
        assert b"shutdown" in await coming


async def test_a_read_ends_with_its_stream(hanging: HangingDatabase, stream: Stream) -> None:
    messages = await stream.open()
    reads, tasks = hanging.reads, asyncio.all_tasks()
    coming = asyncio.ensure_future(anext(messages))
    await until(lambda: hanging.reads > reads)
    coming.cancel()
    await until(lambda: asyncio.all_tasks() == tasks)


@on_postgresql
async def test_streams_that_catch_up_while_postgresql_hangs(
    start_service: Start,
    frail_postgres: PostgresServer,
    alembic: Alembic,
    make_settings: MakeSettings,
    outside: httpx.AsyncClient,
) -> None:
    url = frail_postgres.url("long_ledger")
    frail_postgres.sql("CREATE DATABASE long_ledger")
    alembic(url, "upgrade", "head")
    database = Database(make_settings(database_url=url))
    await fill(database, 5000)
    await database.close()
    service = start_service(
        DATABASE_URL=url,
        CHANGES_KEEP_ALIVE="1",
        DATABASE_POOL_TIMEOUT="1",
        SHUTDOWN_REQUEST_TIMEOUT="100",
        LOG_LEVEL="INFO",
        LOG_FORMAT="json",
    )
    begun: list[int] = []
    quiet: list[int] = []

    async def follow() -> Message:
        async with open_stream(outside, service.url) as stream:
            begun.extend(await take(stream, 1))
            async for message in stream:
                if message.comment == "keep-alive":
                    break
            quiet.append(1)
            *_, last = [message async for message in stream]
            return last

    following = [asyncio.create_task(follow()) for _ in range(10)]
    await until(lambda: len(begun) == 10)
    with frail_postgres.suspended():
        await until(lambda: len(quiet) == 10)
        started = time.monotonic()
        responses = await asyncio.gather(*(outside.get(f"{service.url}/changes/stream") for _ in range(2)))
        statuses = [response.status_code for response in responses]
        assert sorted(statuses) == [429, 503], "the second found the share of its subject in use"
        assert time.monotonic() - started < 25
        started = time.monotonic()
        service.send(signal.SIGTERM)
        for last in await asyncio.gather(*following):
            assert json.loads(last.data) == {"reason": "shutdown"}
        assert time.monotonic() - started < 25
    assert await asyncio.to_thread(service.wait) == 0
    assert "Traceback" not in service.output()
