"""Waiting for what another task or process brings about."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx

MAX_PAUSE_SECONDS = 0.05


async def until(condition: Callable[[], bool | Awaitable[bool]], deadline_seconds: float = 60) -> None:
    """Return once `condition` holds; TimeoutError after the deadline."""
    pause_seconds = 0.005
    async with asyncio.timeout(deadline_seconds):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(pause_seconds)
            if isinstance(holds, Awaitable):  # it asks a database or a service, which has other work to do
                pause_seconds = min(pause_seconds * 1.5, MAX_PAUSE_SECONDS)


async def until_ready(client: httpx.AsyncClient) -> None:
    """Return once the service is ready: the keys come by themselves, while everything else is there at once."""

    async def is_ready() -> bool:
        return (await client.get("/health/ready")).status_code == httpx.codes.OK

    await until(is_ready)


async def until_unready(client: httpx.AsyncClient, url: str = "/health/ready") -> httpx.Response:
    """The first response that is 503, once a look at the database has found what is wrong."""
    responses: list[httpx.Response] = []

    async def is_unready() -> bool:
        responses.append(await client.get(url))
        return responses[-1].status_code == httpx.codes.SERVICE_UNAVAILABLE

    await until(is_unready)
    return responses[-1]


async def get_once_connected(
    client: httpx.AsyncClient,
    url: str = "/health",
    holds: Callable[[httpx.Response], bool] | None = None,
    deadline_seconds: float = 60,
) -> httpx.Response:
    """GET `/health` or `/metrics` again until its look at the database was in time, and `holds` of the response.

    The service gives the look 0.8 seconds, in which a busy machine may not finish it.

    Raises:
        AssertionError: the deadline has passed.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        response = await client.get(url)
        if is_looked_at(response) and (holds is None or holds(response)):
            return response
        assert time.monotonic() < deadline, response.text
        await asyncio.sleep(0.02)


def is_looked_at(response: httpx.Response) -> bool:
    """Whether the database responded to this response's look at it."""
    if response.headers["Content-Type"] == "application/json":
        return bool(response.json()["database"] == "connected")
    return "\nsync_database_up 1.0\n" in response.text
