"""Runs the watcher: builds its parts, repeats its passes, and ends it in good order."""

import asyncio
import time
from enum import IntEnum

from sync_client import SyncClient, Unavailable
from watcher.delivery import Delivery, Refused
from watcher.display import Display
from watcher.notice import notice_changes
from watcher.options import Options
from watcher.outbox import Outbox
from watcher.scanner import Ignored
from watcher.settling import Settling
from watcher.state import StateError, StateFile
from watcher.syncer import FolderLost, Syncer
from watcher.tracker import Tracker

STATUS_SECONDS = 0.5
FIRST_RESCAN_SECONDS = 1.0
OUTAGE_SECONDS = 5.0
GRACE_SECONDS = 3.0
ONCE_SETTLE_SECONDS = 30.0


class ExitStatus(IntEnum):
    """The exit statuses of the program."""

    DONE = 0
    INCOMPLETE = 1
    UNUSABLE = 3
    INTERRUPTED = 130


class _Run:
    """The parts of one run, and its loop."""

    def __init__(self, options: Options, display: Display, sync: SyncClient, stop: asyncio.Event) -> None:
        state_file = StateFile(options.state, options.folder)
        own_paths = state_file.names_below()
        self._own_names = frozenset(path.rpartition("/")[2] for path in own_paths)
        self._options = options
        self._display = display
        self._stop = stop
        delivery = Delivery(sync)
        self._tracker = Tracker(delivery, display)
        self._outbox = Outbox(state_file.load(), state_file, delivery, self._tracker, stop)
        self._syncer = Syncer(
            options.folder,
            Ignored(options.ignore, own_paths),
            self._outbox,
            settling=Settling(options.settle_seconds),
            display=display,
            stop=stop,
        )
        self._wake = asyncio.Event()

    async def run(self) -> ExitStatus:
        """Run until all is done or `stop` is set, then let running work finish within `GRACE_SECONDS`."""
        await self._outbox.save()
        companions = [asyncio.create_task(self._tracker.run(STATUS_SECONDS))]
        if not self._options.once:
            noticing = notice_changes(self._options.folder, self._own_names, self._wake, self._stop, self._display)
            companions.append(asyncio.create_task(noticing))
        try:
            return await self._finish(asyncio.create_task(self._once() if self._options.once else self._watch()))
        finally:
            for companion in companions:
                companion.cancel()
            await asyncio.gather(*companions, return_exceptions=True)
            await self._outbox.save()

    async def _finish(self, task: asyncio.Task[ExitStatus]) -> ExitStatus:
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait({task}, timeout=GRACE_SECONDS)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return ExitStatus.INTERRUPTED if self._options.once else self._result()

    async def _once(self) -> ExitStatus:
        deadline = time.monotonic() + self._options.settle_seconds + ONCE_SETTLE_SECONDS
        while True:
            try:
                settling = await self._syncer.run_once()
            except Unavailable as error:
                self._display.note(f"given up for now: {error}; the next run continues from here")
                return ExitStatus.INCOMPLETE
            if self._stop.is_set():
                return ExitStatus.INTERRUPTED
            if not settling:
                return self._result()
            if time.monotonic() >= deadline:
                self._display.note(f"left out: {settling} paths that do not stop changing")
                return ExitStatus.INCOMPLETE
            await _wait(self._options.settle_seconds / 2, self._stop)

    async def _watch(self) -> ExitStatus:
        idle_seconds, outage = FIRST_RESCAN_SECONDS, False
        while not self._stop.is_set():
            self._wake.clear()
            try:
                settling = await self._syncer.run_once()
            except Unavailable as error:
                if not outage:
                    self._display.note(f"trying again and again: {error}")
                outage = True
                await _wait(max(OUTAGE_SECONDS, error.retry_after_seconds), self._stop)
                continue
            outage = False
            if settling:
                idle_seconds = FIRST_RESCAN_SECONDS
                await _wait(self._options.settle_seconds / 2, self._stop)
            else:
                await _wait(idle_seconds, self._stop, self._wake)
                idle_seconds = min(2 * idle_seconds, self._options.rescan_seconds)
        return self._result()

    def _result(self) -> ExitStatus:
        incomplete = self._outbox.state.pending or self._syncer.problems
        return ExitStatus.INCOMPLETE if incomplete else ExitStatus.DONE


async def run(options: Options, display: Display, stop: asyncio.Event) -> ExitStatus:
    """Run the watcher until its work is done (`--once`) or `stop` is set."""
    try:
        with StateFile(options.state, options.folder).lock():
            async with SyncClient(options.url, options.token, policy=options.policy) as sync:
                return await _Run(options, display, sync, stop).run()
    except (FolderLost, Refused, StateError) as error:
        display.note(f"stopped: {error}")
        return ExitStatus.UNUSABLE


async def _wait(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of `events` is set, at most `seconds`."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
