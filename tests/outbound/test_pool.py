"""Connections are kept for the next request to the same origin, and no longer than they are good."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpcore
import pytest

from app.deliveries.policy import classify
from app.outbound.client import OutboundClient
from app.outbound.connection import ConnectionPool
from app.subscriptions.models import Outcome
from tests.outbound.support import BODY, raw
from tests.support.receiver import Receiver, Reply, answer, hang, receiving, reset

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
    all_have_come = asyncio.Barrier(20)

    async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await all_have_come.wait()
        await answer()(reader, writer)

    async with receiving(Receiver(decide=lambda _request: held)) as receiver:
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


def _ports(seen: list[int], reply: Callable[[int], Reply]) -> Reply:
    """`reply` to each request by its number, with the port that it came from noted in `seen`."""

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[1])
        await reply(len(seen))(reader, writer)

    return noted


async def test_connections_are_kept(sender: OutboundClient) -> None:
    ports: list[int] = []
    reply = _ports(ports, lambda _number: answer(200, b"x" * 30_000))
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        for _ in range(5):
            assert (await sender.send(receiver.url, {}, BODY)).status_code == 200
    assert len(ports) == 5
    assert len(set(ports)) == 1


@pytest.mark.parametrize("failure", [reset, raw()], ids=["reset", "close"])
async def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure(
    sender: OutboundClient, failure: Reply
) -> None:
    ports: list[int] = []
    reply = _ports(ports, lambda number: failure if number == 2 else answer())
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        results = [await sender.send(receiver.url, {}, BODY) for _ in range(2)]
    assert [result.status_code for result in results] == [200, 200]
    assert ports[0] == ports[1] != ports[2]


async def test_many_kept_connections_that_were_closed_meanwhile_are_no_failure(sender: OutboundClient) -> None:
    ports: set[int] = set()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        reply = reset if port in ports else answer()
        ports.add(port)
        await reply(reader, writer)

    async with receiving(Receiver(decide=lambda _request: once, delay_seconds=0.1)) as receiver:
        await asyncio.gather(*(sender.send(receiver.url, {}, BODY) for _ in range(3)))
        assert len(ports) == 3
        assert (await sender.send(receiver.url, {}, BODY)).status_code == 200
    assert len(ports) == 4


async def test_a_new_connection_that_breaks_off_is_not_tried_again_at_once(sender: OutboundClient) -> None:
    ports: list[int] = []
    reply = _ports(ports, lambda _number: reset)
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        assert classify(await sender.send(receiver.url, {}, BODY)) is Outcome.FAILED
    assert len(ports) == 1
