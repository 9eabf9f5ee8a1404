"""A reverse proxy that takes a path prefix away and names it, as one in front of several services does."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

PIECE = 1 << 16
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class PrefixProxy:
    """`asked` has the path of every request, those outside the prefix included, which get 404."""

    target: int
    prefix: str
    asked: list[str] = field(default_factory=list)
    origin: str = ""
    connections: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where the service is behind it."""
        return self.origin + self.prefix

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection beside the others."""
        task = asyncio.create_task(self._serve(reader, writer))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on."""
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            line, _, headers = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            method, path, _version = line.decode().split(" ")
            self.asked.append(path)
            if not path.startswith(f"{self.prefix}/"):
                writer.write(NOT_FOUND)
                return
            begin = f"{method} {path.removeprefix(self.prefix)} HTTP/1.1\r\nX-Forwarded-Prefix: {self.prefix}\r\n"
            kept = re.sub(rb"(?im)^connection:.*\r\n", b"", headers)
            from_service, to_service = await asyncio.open_connection("127.0.0.1", self.target)
            with closing(to_service):
                to_service.write(begin.encode() + b"Connection: close\r\n" + kept)
                request = asyncio.create_task(_pass_on(reader, to_service))
                try:
                    await _pass_on(from_service, writer)
                finally:
                    request.cancel()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def prefix_proxy(target: int, prefix: str = "/api/sync") -> AsyncIterator[PrefixProxy]:
    """The proxy of a port, while the block runs."""
    proxy = PrefixProxy(target, prefix)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy.connections:
            task.cancel()
        await asyncio.gather(*proxy.connections, return_exceptions=True)
