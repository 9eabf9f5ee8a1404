"""Lets simultaneous callers share one call."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


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
        """Cancel every call under way."""
        for task in self._under_way.values():
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until every call under way has ended, also when it raises."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _forget(self, key: Key, done: asyncio.Task[Value]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # retrieved, as every caller may have been cancelled
