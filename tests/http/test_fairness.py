"""One caller, however greedy or slow, never keeps another out, and never the events that others record."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from app.concurrency.fair_semaphore import ConcurrencyLimited, caller
from app.database.engine import ConnectionsInUse, Database
from tests.conftest import MakeSettings
from tests.events.support import open_ledger, record
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.process import ServiceProcess
from tests.support.raw_http import RawConnection, connect
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

Start = Callable[..., ServiceProcess]


LIMITED = "urn:sync-service:problem:concurrency-limited"
NEW_EVENT = {"file_id": str(uuid4()), "event_type": "upload"}
CONNECTIONS = 24


@asynccontextmanager
async def client_of(service: ServiceProcess, tokens: TokenFactory, subject: str) -> AsyncIterator[httpx.AsyncClient]:
    token = tokens.token(sub=subject, scope="read:sync write:sync admin:sync")
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=service.url, headers={"Authorization": f"Bearer {token}"}, limits=limits, timeout=30
    ) as client:
        yield client


async def soon(request: Any) -> httpx.Response:
    """The response to a request, long before the slow readers and senders of the other subject are done."""
    started = time.monotonic()
    response: httpx.Response = await request
    assert time.monotonic() - started < 10
    return response


def refused_for_its_share(response: httpx.Response) -> bool:
    return (response.status_code, response.headers["Retry-After"], response.json()["type"]) == (429, "1", LIMITED)


@pytest.mark.slow
async def test_reads_of_one_subject_leave_connections_to_others_and_to_appends(make_settings: MakeSettings) -> None:
    database = Database(make_settings(database_pool_size=8, database_pool_timeout=0.3))
    async with AsyncExitStack() as stack:
        caller.set("greedy")
        for _ in range(4):
            await stack.enter_async_context(database.connection())
        with pytest.raises(ConcurrencyLimited):
            async with database.read():
                pass
        with pytest.raises(ConcurrencyLimited):
            async with database.transaction():
                pass
        caller.set("modest")
        for _ in range(2):
            await stack.enter_async_context(database.read())
        caller.set("third")
        with pytest.raises(ConnectionsInUse):
            async with database.connection():
                pass
        await open_ledger(database).append([record()])
        caller.set(None)
        async with database.read() as session, database.connection():
            assert await session.scalar(text("SELECT count(*) FROM sync_events")) == 1
    await database.close()


@on_postgresql
async def test_forty_slow_reads_of_one_subject_delay_neither_posts_nor_another_reader(
    start_service: Start, database: Database, tokens: TokenFactory
) -> None:
    """The reads wait for a table that others lock, which holds their connections as an expensive statement does."""
    service = start_service(DATABASE_POOL_TIMEOUT="1")
    async with client_of(service, tokens, "greedy") as greedy, client_of(service, tokens, "modest") as modest:
        async with database.transaction() as locking:
            await locking.execute(text("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE"))
            reads = [asyncio.create_task(greedy.get("/subscriptions")) for _ in range(40)]
            await until(lambda: sum(read.done() for read in reads) > 20)
            for client in (modest, greedy):
                assert (await soon(client.post("/sync-events", json=NEW_EVENT))).status_code == 201
            assert (await soon(modest.get("/sync-events"))).status_code == 200
            assert all(refused_for_its_share(read.result()) for read in reads if read.done())
        responses = await asyncio.gather(*reads)
        assert {response.status_code for response in responses} == {200, 429}
        metrics = (await modest.get("/metrics")).text
        refused = sum(response.status_code == 429 for response in responses)
        assert f'rejected_total{{reason="connections"}} {refused}.0' in metrics


async def send_to_all(stack: AsyncExitStack, service: ServiceProcess, request: bytes) -> list[RawConnection]:
    connections = [await stack.enter_async_context(connect(service.port)) for _ in range(CONNECTIONS)]
    for connection in connections:
        await connection.send(request)
    return connections


@on_sqlite
async def test_slow_readers_of_large_pages_keep_no_other_out(
    start_service: Start, database: Database, tokens: TokenFactory
) -> None:
    """The pages are larger than what the kernel takes, which is 4 MB."""
    service = start_service(DATABASE_POOL_TIMEOUT="1")
    await open_ledger(database).append([record(metadata=f'{{"a":"{"x" * 16_000}"}}') for _ in range(400)])
    head = (
        f"GET /sync-events?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens.token(sub='greedy')}\r\n\r\n"
    )
    async with AsyncExitStack() as stack, client_of(service, tokens, "modest") as modest:
        connections = await send_to_all(stack, service, head.encode())
        for connection in connections[:6]:
            await connection.until(b"HTTP/1.1 ")
        for _ in range(3):
            assert (await modest.get("/sync-events", params={"limit": 100})).status_code == 200


@on_sqlite
async def test_slow_senders_of_batches_keep_no_other_out(
    start_service: Start, database: Database, tokens: TokenFactory
) -> None:
    service = start_service(DATABASE_POOL_TIMEOUT="1")
    head = (
        "POST /sync-events/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n"
        f"Authorization: Bearer {tokens.token(sub='greedy')}\r\n\r\n"
    )
    batch = {"events": [{**NEW_EVENT, "metadata": {"a": "x" * 10_000}}] * 100}
    async with AsyncExitStack() as stack, client_of(service, tokens, "modest") as modest:
        connections = await send_to_all(stack, service, head.encode() + b'{"events":[' + b" " * 100_000)
        refused = await connections[-1].answer()
        assert (refused.status, refused.headers["retry-after"], refused.headers["connection"]) == (429, "1", "close")
        assert LIMITED.encode() in refused.body
        for _ in range(3):
            assert (await soon(modest.post("/sync-events/batch", json=batch))).status_code == 201
        assert 'rejected_total{reason="large_bodies"} 21.0' in (await modest.get("/metrics")).text
