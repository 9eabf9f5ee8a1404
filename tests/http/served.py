"""An application with a path for each way to answer, behind a real uvicorn with our protocol."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn

from app.config import Settings
from app.http.protocol import BoundedHttpProtocol
from app.metrics import Metrics
from tests.support.raw_http import Answer, RawConnection, connect
from tests.support.uvicorn_server import port_of, run_uvicorn

LIMIT = 2048
HEADER_TIMEOUT = 0.4
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Application:
    """What the requests reach. `/early` answers before it reads, `/hold` once it is let, `/begun` never ends.

    `/flood` sends pieces for as long as `keeps_flooding`.
    """

    keeps_flooding: Callable[[], bool]
    piece_bytes = 8192

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.seen: list[str] = []
        self.left: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(scope, receive, send)
            return
        path = scope["path"]
        self.seen.append(path)
        whole = scope["state"]["connection"].has_whole_request
        body = b""
        if path == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        while path != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(path)
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if path.startswith("/hold"):
            await self.go_on.wait()
        if path == "/flood":
            await self._flood(send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        content = json.dumps({"path": path, "whole": whole, "body": len(body), "headers": headers}).encode()
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    async def _flood(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.keeps_flooding():
            await send({"type": "http.response.body", "body": b"x" * self.piece_bytes, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body"})


async def _lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    scope["state"]["settings"] = Settings(_env_file=None, max_header_bytes=LIMIT, header_timeout=HEADER_TIMEOUT)
    scope["state"]["metrics"] = Metrics()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class Served:
    """The application behind a server; `connect` opens a connection to it."""

    def __init__(self, application: Application, server: uvicorn.Server) -> None:
        self.application = application
        self.server = server

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    @property
    def reading_is_paused(self) -> bool:
        protocols = (each for each in self.server.server_state.connections if isinstance(each, BoundedHttpProtocol))
        return any(protocol.flow.read_paused for protocol in protocols)

    @property
    def port(self) -> int:
        return port_of(self.server)

    def connect(self) -> AbstractAsyncContextManager[RawConnection]:
        return connect(self.port)


@asynccontextmanager
async def serve(keep_alive_seconds: int = 5) -> AsyncIterator[Served]:
    """A server of its own; `served` is one with the usual times."""
    application = Application()
    async with run_uvicorn(application, keep_alive_seconds) as server:
        yield Served(application, server)
        application.go_on.set()


def assert_problem(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["date"]
    problem = json.loads(answer.body)
    assert problem.keys() == {"type", "title", "status", "detail", "instance"}
    assert problem["status"] == status
    assert problem["instance"] == f"urn:request:{answer.headers['x-request-id']}"


async def assert_refused(connection: RawConnection, status: int) -> None:
    """The answer, and then the end of the connection."""
    assert_problem(await connection.answer(), status)
    assert await connection.rest() == b""


def in_bytes(data: bytes) -> list[bytes]:
    """To be sent one at a time."""
    return [data[index : index + 1] for index in range(len(data))]
