"""A service that holds files: a real HTTP server on a loopback port that keeps to the contract, or breaks it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

Reply = tuple[int, bytes]


@dataclass
class Owner:
    """What it holds, and how it behaves: `meddle` may replace a response, given the path and the honest one."""

    files: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    watermark: int | None = None
    total: int | None = None
    page_items: int = 1000
    meddle: Callable[[str, Reply], Reply | None] = lambda _path, reply: reply
    paths: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    port: int = 0
    before_reply: Callable[[], Awaitable[Any]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, *file_ids: UUID, **members: Any) -> None:
        self.files |= dict.fromkeys(file_ids, members)

    def respond(self, path: str) -> Reply:
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        extra = {} if self.watermark is None else {"watermark": self.watermark}
        if not parts.path.startswith("/inventory"):
            return 404, b"{}"
        if parts.path != "/inventory":
            file_id = UUID(parts.path.removeprefix("/inventory/"))
            if file_id not in self.files:
                return 404, b"{}"
            return 200, json.dumps({"file_id": str(file_id), **self.files[file_id], **extra}).encode()
        after = UUID(query["after"][0]) if "after" in query else None
        limit = min(int(query["limit"][0]), self.page_items)
        ids = sorted(one for one in self.files if after is None or one > after)
        items = [{"file_id": str(one), **self.files[one]} for one in ids[:limit]]
        following = str(ids[limit - 1]) if len(ids) > limit else None
        total = {} if self.total is None else {"total": self.total}
        return 200, json.dumps({"items": items, "next": following, **total, **extra}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.headers.append(head)
                path = head.split(" ")[1]
                self.paths.append(path)
                if self.before_reply:
                    await self.before_reply()
                reply = self.meddle(path, self.respond(path))
                if reply is None:  # it breaks the connection
                    break
                status, body = reply
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()


@asynccontextmanager
async def serving(owner: Owner) -> AsyncIterator[Owner]:
    """The owner listens while the block runs."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections.add(task)
        task.add_done_callback(connections.discard)
        with suppress(asyncio.CancelledError):
            await owner.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", owner.port, backlog=200)
    owner.port = server.sockets[0].getsockname()[1]
    try:
        yield owner
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
