"""Both clients behind one face, so that a test of an operation is written once."""

import asyncio
import inspect
from typing import Any

from sync_client import (
    BlockingSyncClient,
    RetryPolicy,
    SyncClient,
)

PATIENT = RetryPolicy(attempts=50, base_seconds=0.02, cap_seconds=0.2)


class Face:
    """Runs the operations of either client to their end."""

    def __init__(self, url: str, token: str, *, blocking: bool, **options: Any) -> None:
        self._runner = asyncio.Runner()
        kind = BlockingSyncClient if blocking else SyncClient
        self.client: Any = kind(url, token, **{"policy": PATIENT} | options)
        self.blocking = blocking

    def do(self, returned: Any) -> Any:
        """The result of an operation."""
        return self._runner.run(returned) if inspect.iscoroutine(returned) else returned

    def take(self, returned: Any, count: int | None = None) -> list[Any]:
        """The first items of an iterator, which is closed then."""
        items: list[Any] = []
        if inspect.isasyncgen(returned):
            while count is None or len(items) < count:
                try:
                    items.append(self._runner.run(anext(returned)))
                except StopAsyncIteration:
                    break
            self._runner.run(returned.aclose())
            return items
        for item in returned:
            items.append(item)
            if len(items) == count:
                break
        returned.close()
        return items

    def close(self) -> None:
        """Close the connections."""
        self.do(self.client.close() if self.blocking else self.client.aclose())
        self._runner.close()
