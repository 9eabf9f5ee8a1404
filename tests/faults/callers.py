"""One greedy or slow caller beside the honest ones, who notice nothing. It has gone when a function returns."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from urllib.parse import urlsplit

from tests.faults.world import World
from tests.support.raw_http import RawConnection, connect

CONNECTIONS = 12  # more than there are connections to the database for reads, and than large bodies fit

Fault = Callable[[World, float], Coroutine[None, None, None]]


async def read_greedily(world: World, seconds: float) -> None:
    """It asks for one large page after the other on many connections, and reads none."""
    paths = ("/sync-events?limit=1000&processed=true&event_type=update&offset=9000", "/changes?limit=1000")

    async def read(number: int, connection: RawConnection) -> None:
        request = f"GET {paths[number % 2]} HTTP/1.1\r\n{_headers(world)}\r\n".encode()
        while True:
            await connection.send(request)
            await asyncio.sleep(0.1)

    await _on_many_connections(world, read, seconds)


async def send_slowly(world: World, seconds: float) -> None:
    """It sends batches on many connections, a few bytes at a time, and never a whole one."""
    head = "POST /sync-events/batch HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n"

    async def send(_number: int, connection: RawConnection) -> None:
        await connection.send(f"{head}{_headers(world)}\r\n".encode())
        while True:
            await connection.send(b" " * 20_000)
            await asyncio.sleep(0.1)

    await _on_many_connections(world, send, seconds)


FAULTS: tuple[Fault, ...] = (read_greedily, send_slowly)


def _headers(world: World) -> str:
    return f"Host: x\r\nAuthorization: Bearer {world.tokens.token(sub='greedy')}\r\n"


async def _on_many_connections(
    world: World, act: Callable[[int, RawConnection], Awaitable[None]], seconds: float
) -> None:
    async def open_and_act(number: int) -> None:
        port = urlsplit(world.choose()).port
        assert port
        async with connect(port) as connection:
            await act(number, connection)

    acting = [asyncio.ensure_future(open_and_act(number)) for number in range(CONNECTIONS)]
    ended, going_on = await asyncio.wait(acting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for one in going_on:
        one.cancel()
    await asyncio.gather(*going_on, return_exceptions=True)
    for one in ended:
        one.result()
