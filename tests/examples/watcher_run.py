"""Runs the watcher inside the test, and waits for what it does."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from watcher.display import Row
from watcher.options import Options
from watcher.runner import ExitStatus, run

from sync_client import RetryPolicy
from tests.examples.service_double import TOKEN, ServiceDouble

DEADLINE_SECONDS = 15
QUICK = RetryPolicy(attempts=4, base_seconds=0.01, cap_seconds=0.05)


class RecordingDisplay:
    """Keeps what would be shown."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.hashed_bytes = 0

    def hashing(self, path: str, size: int) -> None:
        """Nothing to keep."""

    def hashed(self, size: int) -> None:
        self.hashed_bytes += size

    def hashing_done(self) -> None:
        """Nothing to keep."""

    def posted(self, row: Row) -> None:
        self.rows.append(row)

    def updated(self, row: Row) -> None:
        """The row is the same object."""

    def note(self, message: str) -> None:
        self.notes.append(message)


def options(folder: Path, service: ServiceDouble, **changes: Any) -> Options:
    """Options that lose no time."""
    defaults: dict[str, Any] = {
        "folder": folder,
        "url": service.url,
        "token": TOKEN,
        "state": folder.with_name("state.json"),
        "settle_seconds": 0.05,
        "policy": QUICK,
    }
    return Options(**defaults | changes)


async def run_once(folder: Path, service: ServiceDouble, **changes: Any) -> tuple[ExitStatus, RecordingDisplay]:
    """A run with `--once`."""
    display = RecordingDisplay()
    status = await run(options(folder, service, once=True, **changes), display, asyncio.Event())
    return status, display


@asynccontextmanager
async def watching(
    folder: Path, service: ServiceDouble, *, ending: ExitStatus = ExitStatus.DONE, **changes: Any
) -> AsyncIterator[RecordingDisplay]:
    """A watcher at work; it has to end as said."""
    display, stop = RecordingDisplay(), asyncio.Event()
    task = asyncio.create_task(run(options(folder, service, **changes), display, stop))
    try:
        yield display
    finally:
        stop.set()
        status = await task
    assert status is ending


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`; fail when it does not come true in time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
