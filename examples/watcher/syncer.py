"""Compares the folder with its recorded state, and posts the differences."""

import asyncio
import time
import uuid
from pathlib import Path

from watcher.block import Blocks
from watcher.difference import Difference, compare
from watcher.display import Display
from watcher.metadata import Metadata, describe_content, describe_deletion
from watcher.outbox import Outbox
from watcher.reader import FileChanged, read_blocks
from watcher.scanner import Fingerprint, Ignored, Snapshot, reason, scan
from watcher.settling import Settling
from watcher.state import EventType, FileRecord, Intent

BATCH_SECONDS = 1.0
BATCH_EVENTS = 256
LARGE_BYTES = 64 * 1024 * 1024


class ReadingStopped(Exception):
    """Reading a file was abandoned because the watcher is stopping."""


class FolderLost(Exception):
    """The folder cannot be listed."""


class Syncer:
    """Runs passes over one folder, one at a time."""

    def __init__(
        self,
        folder: Path,
        ignored: Ignored,
        outbox: Outbox,
        *,
        settling: Settling,
        display: Display,
        stop: asyncio.Event,
    ) -> None:
        self.problems: dict[str, str] = {}
        self._folder = folder
        self._ignored = ignored
        self._outbox = outbox
        self._settling = settling
        self._display = display
        self._stop = stop

    async def run_once(self) -> int:
        """One pass: post the events that earlier passes left, scan the folder, post the new events.

        Returns the number of paths that have not settled yet, so that another pass is due soon.

        Raises:
            Unavailable, Refused, StateError: see `Outbox.deliver`.
            FolderLost: the folder cannot be listed.
        """
        await self._outbox.deliver(list(self._outbox.state.pending.values()))
        snapshot = await self._scan()
        difference = self._compare(snapshot)
        problems = dict(snapshot.problems)
        await self._post(difference, problems)
        self._report(problems)
        return difference.settling

    async def _scan(self) -> Snapshot:
        try:
            snapshot = await asyncio.to_thread(scan, self._folder, self._ignored)
        except OSError as error:
            raise FolderLost(f"{self._folder} cannot be listed ({reason(error)})") from error
        self._outbox.check()
        return snapshot

    def _compare(self, snapshot: Snapshot) -> Difference:
        clock, wall_clock = time.monotonic(), time.time()

        def has_settled(path: str, fingerprint: Fingerprint | None) -> bool:
            unsettled.append(path)
            return self._settling.has_settled(path, fingerprint, clock=clock, wall_clock=wall_clock)

        unsettled: list[str] = []
        known = {path: record for path, record in self._outbox.state.files.items() if path not in self._ignored}
        difference = compare(snapshot, known, has_settled)
        self._settling.keep_only(unsettled)
        self._outbox.forget_rejections(snapshot.files)
        return difference

    async def _post(self, difference: Difference, problems: dict[str, str]) -> None:
        batch: list[Intent] = []
        started = time.monotonic()
        for path, fingerprint in difference.changed.items():
            if self._outbox.was_rejected(path, fingerprint):
                continue
            overdue = time.monotonic() - started >= BATCH_SECONDS or len(batch) >= BATCH_EVENTS
            if overdue or fingerprint.size >= LARGE_BYTES:
                await self._outbox.deliver(batch)
                batch, started = [], time.monotonic()
            try:
                batch += await self._changes(path, fingerprint, difference)
            except ReadingStopped:
                return
            except (FileChanged, FileNotFoundError):
                difference.settling += 1
            except OSError as error:
                problems[path] = reason(error)
        # Uploads come before deletes, so that at any time some file refers to content that was only moved.
        await self._outbox.deliver(batch)
        gone = (path for path in difference.gone if not self._outbox.was_rejected(path, None))
        await self._outbox.deliver([self._deletion(path) for path in gone])
        await self._outbox.save()

    async def _changes(self, path: str, fingerprint: Fingerprint, difference: Difference) -> list[Intent]:
        """The event for a file with a new fingerprint; none when its content is the same."""
        state = self._outbox.state
        blocks = await asyncio.to_thread(self._read, path, fingerprint)
        known = state.files.get(path)
        if known and known.digest == blocks.root:
            self._outbox.touch(path, fingerprint)
            return []
        old_path = None if known else difference.missing.pop(blocks.root, None)
        moved_from = (old_path, state.files[old_path]) if old_path is not None else None
        metadata = describe_content(path, fingerprint, blocks, moved_from)
        revision = known.revision + 1 if known else 1
        record = FileRecord(state.file_id(path), blocks.root, revision, fingerprint)
        return [self._intent(path, "update" if known else "upload", metadata, record)]

    def _deletion(self, path: str) -> Intent:
        return self._intent(path, "delete", describe_deletion(path, self._outbox.state.files[path]), None)

    def _intent(self, path: str, event_type: EventType, metadata: Metadata, record: FileRecord | None) -> Intent:
        file_id = self._outbox.state.file_id(path)
        return Intent(path, str(uuid.uuid4()), file_id, event_type, metadata, record)

    def _read(self, path: str, fingerprint: Fingerprint) -> Blocks:
        """Runs in a thread."""

        def on_block(size: int) -> None:
            if self._stop.is_set():
                raise ReadingStopped
            self._display.hashed(size)

        self._display.hashing(path, fingerprint.size)
        try:
            return read_blocks(self._folder / path, fingerprint, on_block)
        finally:
            self._display.hashing_done()

    def _report(self, problems: dict[str, str]) -> None:
        problems |= {path: message for path, (_, message) in self._outbox.rejected.items()}
        for path, message in problems.items():
            if self.problems.get(path) != message:
                self._display.note(f"left out: {path}: {message}")
        self.problems = problems
