"""A TCP relay as a failing proxy is: its target can move, and it cuts connections in the middle of an answer."""

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self


class Relay:
    """Listens on a loopback port for ever and passes everything on to `target`, a port, while that listens.

    Each new connection takes one of `cuts`, and is aborted once so many bytes have come back on it.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.cuts: deque[int] = deque()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections[task] = writer
        cut = self.cuts.popleft() if self.cuts else None
        try:
            with suppress(OSError):
                await self._join(reader, writer, cut)
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: int | None) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target)
        passing = [
            asyncio.create_task(_pass_on(reader, back_writer, None)),
            asyncio.create_task(_pass_on(back_reader, writer, cut)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in passing:
                one.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            back_writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at_most: int | None) -> None:
    passed = 0
    while (at_most is None or passed < at_most) and (data := await reader.read(65_536)):
        part = data if at_most is None else data[: at_most - passed]
        writer.write(part)
        await writer.drain()
        passed += len(part)
