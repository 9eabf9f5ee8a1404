"""Waiting for what another task or process brings about."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool | Awaitable[bool]], deadline_seconds: float = 60) -> None:
    """Return once `condition` holds; TimeoutError after the deadline."""
    async with asyncio.timeout(deadline_seconds):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(0.005)
