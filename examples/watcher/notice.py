"""Hears from the operating system that something in the folder has changed."""

import asyncio
import contextlib
from pathlib import Path

from watchfiles import Change, awatch

from watcher.display import Display

REOPEN_SECONDS = 1.0


async def notice_changes(
    folder: Path, own_names: frozenset[str], wake: asyncio.Event, stop: asyncio.Event, display: Display
) -> None:
    """Set `wake` at every change below `folder`, until `stop` is set.

    Which path has changed does not matter: every pass looks at them all. Where the system cannot tell (as
    with too many folders), that is said once, and the regular passes must do.
    """

    def concerns_us(_change: Change, path: str) -> bool:
        return Path(path).name not in own_names

    complained = False
    while not stop.is_set():
        try:
            async for _ in awatch(
                folder, watch_filter=concerns_us, debounce=400, stop_event=stop, ignore_permission_denied=True
            ):
                wake.set()
        # watchfiles gives up at a name that is not UTF-8; to it, that is an internal error in a group of one.
        except (OSError, RuntimeError, UnicodeError, ExceptionGroup) as error:
            wake.set()
            if isinstance(error, OSError) and not complained:
                complained = True
                display.note(f"changes are noticed late, the system does not tell of them ({error})")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REOPEN_SECONDS)
