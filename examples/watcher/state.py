"""Stores the reported state of the files on disk, so that a restart reports only new changes.

One JSON object: `version`, `folder_id` (UUID), `folder_inode`, `files` (by path: `file_id`, `digest`, `revision`,
`fingerprint`) and `pending` (by path: the events that were about to be posted). An event is written here before
it is posted, and its idempotency key with it: when the response is lost, the next run posts the same event again
and makes no second one.
"""

import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote_from_bytes

from watcher.scanner import Fingerprint

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

VERSION = 1
EventType = Literal["upload", "update", "delete"]


class StateError(Exception):
    """The state file cannot be used; the message has the reason and the remedy."""


class FileRecord(NamedTuple):
    """The recorded state of a file: `digest` names its content, `revision` its events since it appeared."""

    file_id: str
    digest: str
    revision: int
    fingerprint: Fingerprint


class Intent(NamedTuple):
    """An event to post. `record` is the recorded state of the file afterwards, None after a delete."""

    path: str
    idempotency_key: str
    file_id: str
    event_type: EventType
    metadata: dict[str, Any]
    record: FileRecord | None


@dataclass(slots=True)
class State:
    """The stored state of one folder."""

    folder_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    files: dict[str, FileRecord] = field(default_factory=dict)
    pending: dict[str, Intent] = field(default_factory=dict)
    folder_inode: int | None = field(default=None, compare=False)  # another when the folder is not mounted

    def file_id(self, path: str) -> str:
        """The permanent id of the file at `path`: UUIDv5 of the folder's id and the percent-encoded path."""
        return str(uuid.uuid5(uuid.UUID(self.folder_id), quote_from_bytes(os.fsencode(path))))

    def accept(self, intent: Intent) -> None:
        """The service has the event."""
        self.pending.pop(intent.path, None)
        if intent.record is None:
            self.files.pop(intent.path, None)
        else:
            self.files[intent.path] = intent.record


class StateFile:
    """The file that holds a `State`. It is replaced as a whole: a crash leaves the old or the new one."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self._folder = folder
        self._inode: int | None = None
        self._new = path.with_name(path.name + ".new")
        self._lock = path.with_name(path.name + ".lock")
        self._was_saved = False
        self._writing = threading.Lock()

    def names_below(self) -> frozenset[str]:
        """The paths of this file and its companions that are inside the folder, relative to it."""
        paths = (self.path, self._new, self._lock)
        inside = (path for path in paths if path.is_relative_to(self._folder))
        return frozenset(path.relative_to(self._folder).as_posix() for path in inside)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second watcher away.

        Raises:
            StateError: there is one already, or the lock file cannot be written.
        """
        try:
            stream = self._lock.open("w")
        except OSError as error:
            raise StateError(f"{self._lock} cannot be written ({error.strerror}); see --state") from error
        with stream:
            try:
                if fcntl is not None:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StateError(f"another watcher is using {self.path}") from error
            yield

    def load(self) -> State:
        """The stored state, or a new one when there is no file yet.

        Raises:
            StateError: the file cannot be read or is not one of ours.
        """
        state = self._load()
        self._inode = self._folder.stat().st_ino
        if state.folder_inode not in {None, self._inode}:
            raise StateError(
                f"{self._folder} is not the folder that {self.path} is about: mount it again, or move the state file "
                "away to start again (every file then counts as a new one)"
            )
        state.folder_inode = self._inode
        return state

    def _load(self) -> State:
        try:
            return _decode(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise StateError(f"{self.path} cannot be read ({error.strerror})") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(
                f"{self.path} is not a state file of this watcher; move it away to start again "
                "(every file then counts as a new one)"
            ) from error

    def check(self) -> None:
        """Check that the file is still where it was saved, and that the folder is the same.

        Raises:
            StateError: it is not; to continue would report every file as deleted.
        """
        if self._was_saved and not self.path.exists():
            raise StateError(f"{self.path} has gone; was the folder unmounted?")
        if self._inode is not None and self._folder.exists() and self._folder.stat().st_ino != self._inode:
            raise StateError(f"{self._folder} is another folder now; was it unmounted?")

    def save(self, state: State) -> None:
        """Write `state` and flush it to disk.

        Raises:
            StateError: the file cannot be written, or has gone since it was last saved.
        """
        # A cancelled save continues in its thread, and another may follow.
        with self._writing:
            self.check()
            self._write(json.dumps(_encode(state)))

    def _write(self, text: str) -> None:
        try:
            with self._new.open("w", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            self._new.replace(self.path)
            _flush_directory(self.path.parent)
            self._was_saved = True
        except OSError as error:
            raise StateError(f"{self.path} cannot be written ({error.strerror}); see --state") from error


def _flush_directory(directory: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode(state: State) -> dict[str, Any]:
    return {
        "version": VERSION,
        "folder_id": state.folder_id,
        "folder_inode": state.folder_inode,
        "files": {path: record._asdict() for path, record in state.files.items()},
        "pending": {path: _encode_intent(intent) for path, intent in state.pending.items()},
    }


def _encode_intent(intent: Intent) -> dict[str, Any]:
    return intent._asdict() | {"record": intent.record._asdict() if intent.record else None}


def _decode(content: dict[str, Any]) -> State:
    if content["version"] != VERSION:
        raise ValueError("unknown version")
    return State(
        str(uuid.UUID(content["folder_id"])),
        {path: _decode_record(record) for path, record in content["files"].items()},
        {path: _decode_intent(intent) for path, intent in content["pending"].items()},
        content.get("folder_inode"),
    )


def _decode_record(record: dict[str, Any]) -> FileRecord:
    return FileRecord(**record | {"fingerprint": Fingerprint(*record["fingerprint"])})


def _decode_intent(intent: dict[str, Any]) -> Intent:
    return Intent(**intent | {"record": _decode_record(intent["record"]) if intent["record"] else None})
