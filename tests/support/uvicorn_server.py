"""uvicorn in this process and on a real port, with our protocol unless a test says otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from app.http.protocol import BoundedHttpProtocol
from tests.support.waiting import until


@asynccontextmanager
async def run_uvicorn(
    application: Any, keep_alive_seconds: int, *, http: Any = BoundedHttpProtocol
) -> AsyncIterator[uvicorn.Server]:
    """A server that has started; it ends with the block."""
    config = uvicorn.Config(
        application,
        port=0,
        http=http,
        log_config=None,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        await running


def port_of(server: uvicorn.Server) -> int:
    """Where it listens."""
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port
