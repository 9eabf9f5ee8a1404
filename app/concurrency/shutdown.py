"""Ends background tasks: waits for a while, then cancels."""

import asyncio
from typing import Any

CANCEL_SECONDS = 2  # a statement on a connection that hangs takes a while to give up


async def wait_or_cancel(task: "asyncio.Task[Any]", timeout_seconds: float) -> bool:
    """Wait until `task` ends; after `timeout_seconds` cancel it. Returns whether it ended by itself."""
    done, _ = await asyncio.wait({task}, timeout=timeout_seconds)
    if done:
        return True
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    return False
