"""Looks at the database beside the pool, from a thread and an event loop of its own."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from threading import Thread
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from app.config import Settings
from app.database.connection import CLOSE_SECONDS, create_engine
from app.database.errors import database_errors

PROBE_SECONDS = 0.8

T = TypeVar("T")


class Prober:
    """One connection apart, so that an exhausted pool does not look like an outage, and neither does a busy event loop.

    Each statement on it has 0.8 seconds. The thread begins with the first look.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = create_engine(_for_probes(settings))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """The connection, for what runs in the thread; `DatabaseUnavailable` when the database cannot serve now."""
        with database_errors():
            async with self._engine.connect() as connection:
                yield connection

    def run(self, look: Coroutine[Any, Any, T]) -> Future[T]:
        """Let `look` run in the thread, in a context of its own: it serves many requests."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="database-prober", daemon=True)
            self._thread.start()
        return Context().run(asyncio.run_coroutine_threadsafe, look, self._loop)

    async def close(self) -> None:
        """Give up a look that is under way, and close the connection; one that hangs is left to the process's end."""
        if self._loop is None or self._thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        await asyncio.wait({asyncio.wrap_future(ending)})
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _end(self) -> None:
        looks = asyncio.all_tasks() - {asyncio.current_task()}
        for look in looks:
            look.cancel()
        if looks:
            await asyncio.wait(looks, timeout=PROBE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._engine.dispose()


def _for_probes(settings: Settings) -> Settings:
    seconds = ("connect_timeout", "pool_timeout", "statement_timeout", "lock_timeout")
    limits = {f"database_{name}": PROBE_SECONDS for name in seconds}
    return settings.model_copy(update={**limits, "database_pool_size": 1, "database_max_overflow": 0})
