"""Receivers of webhooks: real HTTP servers on a loopback port that answer as badly as a test wants."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.support.ports import ReservedPort

# A service with these settings sends to receivers of the tests, and encrypts their secrets.
KEY = "an encryption key of the tests that is long enough"
WEBHOOK_SETTINGS = {
    "webhook_allow_private_addresses": True,
    "webhook_ports": (0,),
    "webhook_encryption_keys": KEY,
}


@dataclass(frozen=True)
class Received:
    """One request as it came; `at` is by the monotonic clock."""

    headers: dict[str, str]
    body: bytes
    at: float

    @cached_property
    def event(self) -> dict[str, Any]:
        """The body as JSON."""
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def position(self) -> int:
        """The event's place in the ledger."""
        position: int = self.event["data"]["position"]
        return position

    @property
    def file_id(self) -> str:
        """The file that it is about."""
        file_id: str = self.event["data"]["file_id"]
        return file_id


Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Reply:
    """An ordinary answer."""

    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return reply


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """No answer, until the other side gives up."""
    await reader.read(1)


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The connection breaks."""
    writer.transport.abort()


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that never ends, one byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that never ends, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
        await writer.drain()


@dataclass
class Receiver:
    """Notes every request and answers as `decide` says."""

    decide: Callable[[Received], Reply] = lambda _request: answer()
    delay_seconds: float = 0
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    connections: int = 0
    reserved: ReservedPort = field(default_factory=ReservedPort)

    @property
    def port(self) -> int:
        """Its own, also while it does not listen."""
        return self.reserved.number

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def positions(self) -> list[int]:
        """The positions of what came, in the order in which it did."""
        return [request.position for request in self.received]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await _read(reader)
                self.received.append(request)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await asyncio.sleep(self.delay_seconds)
                    await self.decide(request)(reader, writer)
                finally:
                    self.at_once -= 1


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return Received(headers, await reader.readexactly(int(headers["content-length"])), time.monotonic())


@asynccontextmanager
async def receiving(*receivers: Receiver) -> AsyncIterator[Receiver]:
    """These receivers listen while the block runs; gives the first."""
    receivers = receivers or (Receiver(),)
    connections: set[asyncio.Task[None]] = set()
    async with AsyncExitStack() as stack:
        for receiver in receivers:
            server = await asyncio.start_server(
                _serving(receiver, connections), "127.0.0.1", receiver.port, backlog=1000
            )
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
        try:
            yield receivers[0]
        finally:
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)


def _serving(receiver: Receiver, connections: set[asyncio.Task[None]]) -> Callable[..., Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections.add(task)
        task.add_done_callback(connections.discard)
        with suppress(asyncio.CancelledError):  # the server's own connections are not cancelled by anybody else
            await receiver.serve(reader, writer)
        writer.close()

    return serve
