"""Waiting for what another task or process brings about."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx


async def until(condition: Callable[[], bool | Awaitable[bool]], deadline_seconds: float = 60) -> None:
    """Return once `condition` holds; TimeoutError after the deadline."""
    async with asyncio.timeout(deadline_seconds):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(0.005)


async def until_ready(client: httpx.AsyncClient) -> None:
    """Return once the service is ready: the keys come by themselves, while everything else is there at once."""

    async def is_ready() -> bool:
        return (await client.get("/health/ready")).status_code == httpx.codes.OK

    await until(is_ready)
