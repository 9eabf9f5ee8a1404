"""Connections are kept for the next request to the same origin, and no longer than they are good."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpcore
import pytest

from app.outbound.connection import ConnectionPool
from tests.support.receiver import Receiver, answer, hang, receiving, reset

CONTEXT = ssl.create_default_context()


def create_pool(**changes: Any) -> ConnectionPool:
    options = {"keep_alive_seconds": 60, "max_idle": 100, "max_age_seconds": 60, **changes}
    return ConnectionPool(httpcore.AnyIOBackend(), CONTEXT, **options)


@pytest.fixture
async def pool() -> AsyncIterator[ConnectionPool]:
    pool = create_pool()
    yield pool
    await pool.aclose()
    assert len(pool) == 0


async def post(pool: ConnectionPool, url: str) -> int:
    request = httpcore.Request("POST", url, headers={"content-length": "2", "host": "x"}, content=b"{}")
    async with pool.stream(request) as response:
        await response.aread()
        return response.status


async def test_a_connection_is_used_again(pool: ConnectionPool) -> None:
    async with receiving() as receiver:
        for _ in range(3):
            assert await post(pool, receiver.url) == 200
        assert receiver.connections == 1
        assert len(pool) == 1


async def test_requests_at_once_have_a_connection_each(pool: ConnectionPool) -> None:
    async with receiving(Receiver(delay_seconds=0.1)) as receiver:
        for _ in range(2):
            await asyncio.gather(*(post(pool, receiver.url) for _ in range(20)))
        assert receiver.connections == receiver.most_at_once == len(pool) == 20


async def test_each_origin_has_its_own(pool: ConnectionPool) -> None:
    async with receiving() as first, receiving() as second:
        for receiver in (first, second, first, second):
            await post(pool, receiver.url)
        assert (first.connections, second.connections) == (1, 1)


async def test_a_connection_that_the_other_side_has_closed_is_not_used(pool: ConnectionPool) -> None:
    receiver = Receiver()
    async with receiving(receiver):
        await post(pool, receiver.url)
    async with receiving(receiver):
        assert await post(pool, receiver.url) == 200
    assert receiver.connections == 2


async def test_an_old_connection_is_not_used() -> None:
    pool = create_pool(keep_alive_seconds=0.05)
    async with receiving() as receiver, receiving() as other:
        await post(pool, receiver.url)
        await asyncio.sleep(0.1)
        await post(pool, receiver.url)
        assert receiver.connections == 2
        await asyncio.sleep(0.1)
        await post(pool, other.url)
        assert len(pool) == 1
    await pool.aclose()


async def test_many_at_once_find_their_connections_closed(pool: ConnectionPool) -> None:
    receiver = Receiver(delay_seconds=0.02)
    for _ in range(4):
        async with receiving(receiver):
            for number in (10, 3):
                assert await asyncio.gather(*(post(pool, receiver.url) for _ in range(number))) == [200] * number
        assert len(pool) == 10


async def test_a_connection_that_is_always_busy_is_not_used_for_ever() -> None:
    times = [0.0]
    pool = create_pool(max_age_seconds=60, clock=lambda: times[-1])
    async with receiving() as receiver:
        for seconds in (0.0, 30.0, 59.0):
            times.append(seconds)
            await post(pool, receiver.url)
        assert receiver.connections == 1
        for seconds in (60.0, 119.0):
            times.append(seconds)
            await post(pool, receiver.url)
        assert receiver.connections == 2
    await pool.aclose()


async def test_one_that_got_too_old_under_way_is_not_kept() -> None:
    times = iter([0.0, 60.0])
    pool = create_pool(max_age_seconds=60, clock=lambda: next(times))
    async with receiving() as receiver:
        await post(pool, receiver.url)
    assert len(pool) == 0


async def test_no_more_are_kept_than_there_may_be() -> None:
    pool = create_pool(max_idle=3)
    async with receiving(Receiver(delay_seconds=0.1)) as receiver:
        await asyncio.gather(*(post(pool, receiver.url) for _ in range(10)))
        assert len(pool) == 3
        await pool.aclose()


async def test_what_was_not_read_to_its_end_is_not_kept(pool: ConnectionPool) -> None:
    async with receiving(Receiver(lambda _request: answer(200, bytes(200_000)))) as receiver:
        request = httpcore.Request("POST", receiver.url, headers={"content-length": "0", "host": "x"})
        async with pool.stream(request) as response:
            assert response.status == 200
        assert len(pool) == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://127.0.0.1:9/"], ids=["http", "https"])
async def test_no_connection_leaves_none(pool: ConnectionPool, url: str) -> None:
    with pytest.raises(httpcore.ConnectError):
        await post(pool, url)
    assert len(pool) == 0


async def test_a_failure_or_an_end_in_between_leaves_none(pool: ConnectionPool) -> None:
    async with receiving(Receiver(lambda _request: reset)) as receiver:
        with pytest.raises((httpcore.ReadError, httpcore.RemoteProtocolError)):
            await post(pool, receiver.url)
    async with receiving(Receiver(lambda _request: hang)) as receiver:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await post(pool, receiver.url)
    assert len(pool) == 0
