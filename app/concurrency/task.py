"""Background tasks: a repeated pass, a call repeated in a block, one call for equal requests, a batch for all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from contextvars import Context
from random import random
from typing import Any, Generic, TypeVar

import structlog

from app.concurrency.shutdown import CANCEL_SECONDS, wait_for_event, wait_or_cancel
from app.errors import Unavailable, describe
from app.log.sparing import SparingLog

FIRST_SECONDS = 10.0  # until the first pass, at most

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

log = structlog.get_logger(__name__)


class PeriodicTask:
    """Runs `run` again and again, `interval_seconds` after each end. A pass that fails is repeated.

    The first pass begins after a random part of the interval, 10 seconds at most, so that replicas that start together
    do not work in step; with `at_once`, immediately.

    The first failure is logged, and while passes go on failing one a minute, with their number.

    Setting `wake` starts the next pass immediately, or as soon as the current one has ended.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[asyncio.Event], Awaitable[object]],
        interval_seconds: float,
        wake: asyncio.Event | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self._name = name
        self._run = run
        self._interval_seconds = interval_seconds
        self._wake = wake or asyncio.Event()
        self._at_once = at_once
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = SparingLog(__name__)

    def start(self) -> None:
        self._task = asyncio.create_task(self._repeat(), name=self._name)

    async def stop(self, timeout_seconds: float) -> None:
        """Let the running pass see the stop event and end; cancel it after `timeout_seconds`."""
        self._stopping.set()
        self._wake.set()
        if self._task is not None and not await wait_or_cancel(self._task, timeout_seconds):
            log.error("pass cancelled at shutdown", task=self._name)

    async def _repeat(self) -> None:
        if not self._at_once:
            await wait_for_event(self._wake, random() * min(self._interval_seconds, FIRST_SECONDS))  # noqa: S311 - no secret
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                await self._run(self._stopping)
            except Unavailable as error:
                self._log.warning("pass postponed", task=self._name, reason=describe(error.__cause__ or error))
            except Exception as error:  # noqa: BLE001 - the next pass may succeed
                self._log.error("pass failed", task=self._name, exc_info=error)
            await wait_for_event(self._wake, self._interval_seconds)


@asynccontextmanager
async def repeating(
    interval_seconds: float, call: Callable[[], Awaitable[object]], sparing: SparingLog, failure: str, **fields: str
) -> AsyncIterator[None]:
    """Call `call` every `interval_seconds` while the block runs.

    A call that fails does not end the calls. `sparing` logs it as `failure` with `fields`, unless the database cannot
    serve: the block meets that itself.
    """

    async def repeat() -> None:
        while True:
            await asyncio.sleep(interval_seconds)
            try:
                await call()
            except Unavailable:
                continue
            except Exception as error:  # noqa: BLE001 - the next call may succeed
                sparing.error(failure, **fields, exc_info=error)

    task = asyncio.create_task(repeat(), name=failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


class SingleFlight(Generic[Key, Value]):
    """At most one call per key is under way; it goes on when a caller that waits for it is cancelled."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way: dict[Key, asyncio.Task[Value]] = {}

    async def run(self, key: Key, call: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """The result of the call under way for `key`, or else of `call()`; raises what the call raises."""
        task = self._under_way.get(key)
        if task is None:
            # A context of its own: it serves many callers, so its log lines must not carry the first caller's ids.
            task = asyncio.create_task(call(), name=self._name, context=Context())
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def is_under_way(self, key: Key) -> bool:
        """Whether there is a call for `key` that `run` would wait for."""
        return key in self._under_way

    def close(self) -> None:
        for task in self._under_way.values():
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until every call under way has ended, also when it raises; two seconds at most."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=CANCEL_SECONDS)

    def _forget(self, key: Key, done: asyncio.Task[Value]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # retrieved, as every caller may have been cancelled


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
