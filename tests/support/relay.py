"""A TCP relay that fails as proxies and firewalls do: its target moves, it cuts connections, it goes silent."""

import asyncio
import ctypes
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux, which Python does not name
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # one instruction of classic BPF: return 0


class Relay:
    """Listens on a loopback port for ever and passes everything on to `target`, a port, while that listens.

    Each new connection takes one of `cuts`, and is aborted once so many bytes have come back on it.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.cuts: deque[int] = deque()
        self.passed_back = 0  # bytes
        self._is_silent = False
        self._silenced: set[asyncio.Task[None]] = set()
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}  # both ends of each

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Abort all connections."""
        for ends in self._connections.values():
            ends[0].transport.abort()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Lose every packet in both directions, as a firewall that has forgotten its connections: none is acknowledged.

        The connections of before and those opened meanwhile stay open and silent for ever; later ones work.
        """
        self._silenced |= self._connections.keys()
        for ends in self._connections.values():
            for writer in ends:
                _drop_packets(writer)
        self._is_silent = True
        try:
            yield
        finally:
            self._is_silent = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections[task] = ends = [writer]
        if self._is_silent:
            self._silenced.add(task)
            _drop_packets(writer)
        cut = self.cuts.popleft() if self.cuts else None
        try:
            with suppress(OSError):
                await self._join(reader, ends, cut)
        finally:
            writer.transport.abort()
            self._silenced.discard(task)
            del self._connections[task]

    async def _join(self, reader: asyncio.StreamReader, ends: list[asyncio.StreamWriter], cut: int | None) -> None:
        [writer] = ends
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target)
        ends.append(back_writer)
        whole = asyncio.current_task()
        passing = [
            asyncio.create_task(self._pass_on(whole, reader, back_writer, None)),
            asyncio.create_task(self._pass_on(whole, back_reader, writer, cut, is_back=True)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in passing:
                one.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            back_writer.transport.abort()

    async def _pass_on(
        self,
        whole: asyncio.Task[None] | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        at_most: int | None,
        *,
        is_back: bool = False,
    ) -> None:
        passed = 0
        while (at_most is None or passed < at_most) and (data := await reader.read(65_536)):
            if whole in self._silenced:
                continue
            part = data if at_most is None else data[: at_most - passed]
            writer.write(part)
            await writer.drain()
            passed += len(part)
            self.passed_back += len(part) if is_back else 0


def _drop_packets(writer: asyncio.StreamWriter) -> None:
    """Have the kernel drop all that comes for this end of the connection from now on."""
    instructions = ctypes.create_string_buffer(_DROP_ALL)
    program = struct.pack("HL", 1, ctypes.addressof(instructions))
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
