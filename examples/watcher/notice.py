"""Gets notifications of changes in the folder from the operating system."""

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

    The changed path does not matter, because every pass reads them all. Where the system sends no notifications (as
    with too many folders), the display says so once, and only the regular passes find changes.
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
                display.note(f"changes are found late, because the system sends no notifications ({error})")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REOPEN_SECONDS)
