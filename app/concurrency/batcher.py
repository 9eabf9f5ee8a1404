"""A task that works off a queue in batches and lives only while there is something in it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from app.concurrency.shutdown import wait_or_cancel


class Batcher:
    """Runs `process_batch` again and again while `has_more()` holds.

    What arrives while a batch is under way is part of the next one. The owner keeps the queue and calls `wake` after
    each addition; `process_batch` takes what it wants from the queue and raises nothing but cancellation.
    """

    def __init__(self, name: str, process_batch: Callable[[], Awaitable[None]], has_more: Callable[[], bool]) -> None:
        self._name = name
        self._process_batch = process_batch
        self._has_more = has_more
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Start the task unless it runs."""
        if self._task is None:
            # A context of its own: it serves many callers, so its log lines must not carry the first caller's ids.
            self._task = asyncio.create_task(self._run(), name=self._name, context=Context())

    async def close(self, timeout_seconds: float) -> bool:
        """Wait until the queue is empty; after `timeout_seconds` cancel the task. Returns whether it is empty."""
        return self._task is None or await wait_or_cancel(self._task, timeout_seconds)

    async def _run(self) -> None:
        try:
            while self._has_more():
                await self._process_batch()
        finally:
            self._task = None
