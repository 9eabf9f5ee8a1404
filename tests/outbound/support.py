"""What the tests of requests to receivers share: senders, and receivers that reply badly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.outbound.address import AddressPolicy
from app.outbound.client import AttemptResponse, OutboundClient
from tests.support.receiver import Receiver, Reply, receiving

PUBLIC_ONLY = AddressPolicy(allow_private=False, ports=frozenset())
ANYWHERE = AddressPolicy(allow_private=True, ports=frozenset())
TIMEOUT_SECONDS = 0.5
BODY = b'{"a":1}'


@asynccontextmanager
async def impatient() -> AsyncIterator[OutboundClient]:
    """A sender with half a second."""
    sender = OutboundClient(ANYWHERE, TIMEOUT_SECONDS)
    yield sender
    await sender.close()


def raw(*parts: bytes, end: bool = True) -> Reply:
    """Exactly these bytes, and then the connection's end, or silence."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end:
            writer.close()
        else:
            await reader.read(1)

    return reply


def endless(start: bytes, piece: bytes, pause_seconds: float = 0) -> Reply:
    """`start`, and then `piece` again and again."""

    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return reply


async def send(sender: OutboundClient, reply: Reply) -> AttemptResponse:
    """The answer to one request to a receiver that replies so."""
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        return await sender.send(receiver.url, {"webhook-id": "1"}, BODY)


async def loopback(_host: str) -> list[str]:
    return ["127.0.0.1"]
