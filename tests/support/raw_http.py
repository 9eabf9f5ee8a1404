"""HTTP/1.1 by hand, to send what no client library would."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.client import parse_headers
from io import BytesIO

DEADLINE_SECONDS = 20


@dataclass
class Answer:
    """One response; `headers` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawConnection:
    """One TCP connection. Everything fails after a deadline instead of waiting for ever."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *parts: bytes, pause_seconds: float = 0) -> None:
        """Send each of the parts, with a pause after it, until the server wants no more."""
        with suppress(ConnectionError):
            for part in parts:
                self._writer.write(part)
                await self._writer.drain()
                await asyncio.sleep(pause_seconds)

    async def answer(self) -> Answer:
        """The next response, with a `Content-Length` or in chunks."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.partition(b"\r\n")
            headers = {name.lower(): value for name, value in parse_headers(BytesIO(rest)).items()}
            length = headers.get("content-length")
            body = await self._chunks() if length is None else await self._reader.readexactly(int(length))
            return Answer(int(line.split()[1]), headers, body)

    async def _chunks(self) -> bytes:
        """A body of RFC 9112, section 7.1, without trailers."""
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body

    async def until(self, expected: bytes) -> bytes:
        """What comes up to `expected`, and with it."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._reader.readuntil(expected)

    def end(self) -> None:
        """Send nothing more, and go on reading."""
        self._writer.write_eof()

    async def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._reader.read()


@asynccontextmanager
async def connect(port: int, receive_bytes: int | None = None) -> AsyncIterator[RawConnection]:
    """A connection to this machine, for which the kernel keeps about `receive_bytes` that nobody has read."""
    one = socket.socket()
    if receive_bytes:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    one.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=one)
    except BaseException:
        one.close()
        raise
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
