"""The SQLite file: notices that it is no longer the one that the connections have open, and copies it for a backup."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from urllib.parse import quote

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.errors import DAMAGE, DatabaseDamaged, Writability

REMOVED = (
    "The database file is no longer at its path. The running process still has it: "
    "save it before a restart, which would begin an empty ledger."
)
REPLACED = (
    "Another file was put at the path of the database while the service ran. "
    "A restart serves that file: save the one that the running process has first."
)
WAL_LOST = (
    "The -wal file of the database was removed, replaced or emptied while the service ran. Unless it was emptied, the "
    "running process still has it: save it before a restart, which would lose the latest events."
)
CUT = "The database file was emptied or cut short while the service ran. A restart does not heal it: restore a backup."
OVERWRITTEN = (
    "The database file was overwritten by an older copy while the service ran. "
    "A restart serves what is there now: restore a backup with the service stopped."
)

# https://www.sqlite.org/fileformat.html#the_database_header
# Magic, page size in bytes, change counter, pages, and the change counter for which the number of pages holds.
_HEADER = Struct(">16sH6xII60xI")
_MAGIC = b"SQLite format 3\0"
PAGES_AT_ONCE = 256  # of a backup
BUSY_SECONDS = 5
CHECKPOINT_SECONDS = 1  # at most between two writes of a checkpoint into the file
PAUSE_SECONDS = 0.05
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


class UnlockingConnection(sqlite3.Connection):
    """Rolls back when it is closed.

    SQLite keeps the transaction of a closed connection, with its lock, for as long as a cursor with unread rows lives.
    After a cancelled statement that is until the next garbage collection, and nobody else can write meanwhile.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


class SqliteFile:
    """The file that the first connection has opened, compared with the file at its path.

    Once there is a difference, every use of the database is refused until the restart: the data that is read may be
    lost with the process. A comparison is five system calls on cached data. Other processes may checkpoint or VACUUM
    the file between any two of them.
    """

    def __init__(self, path: str, writability: Writability) -> None:
        self._path = path
        self._wal_path = ""
        self._writability = writability
        # Each descriptor is stored with its inode; an inode is not reused while the file is open.
        self._descriptor: int | None = None
        self._file_identity: tuple[int, int] | None = None
        self._wal: int | None = None
        self._wal_identity: tuple[int, int] | None = None
        self._size = 0
        self._counter = 0
        self._may_grow = False  # too short, but another process may be at its checkpoint
        self._open: set[int] = set()
        self._difference: str | None = None

    def watch(self, engine: AsyncEngine) -> None:
        """Compare with each new connection of `engine`, after the listeners that prepare it."""

        @event.listens_for(engine.sync_engine, "connect")
        def _connected(connection: DBAPIConnection, _record: object) -> None:
            if self._descriptor is None:
                self._begin()
            self._open.add(id(connection))
            try:
                self.compare()
            except BaseException:
                self._open.discard(id(connection))  # SQLAlchemy closes it without an event
                raise

        @event.listens_for(engine.sync_engine, "close")
        def _closed(connection: DBAPIConnection, _record: object) -> None:
            self._open.discard(id(connection))
            if not self._open:
                self._forget_wal()  # the last connection takes it away, the next one makes another

    def check(self) -> None:
        if self._difference is not None:
            raise DatabaseDamaged(self._difference)

    def compare(self) -> None:
        """Compare, and raise `DatabaseDamaged` from the first difference on.

        A file that a checkpoint may be about to make longer is no difference yet.

        Raises:
            OSError: when the file system does not say.
        """
        if self._difference is None and self._descriptor is not None:
            self._difference = self._find_difference(self._descriptor)
            if self._difference is not None:
                self._writability.refuse(DAMAGE, self._difference)
        self.check()

    async def compare_whole(self) -> None:
        """Compare until the file is as long as its header says, or is known to be cut.

        Raises:
            OSError: when the file system does not say.
        """
        self.compare()
        while self._may_grow:
            await asyncio.sleep(PAUSE_SECONDS)
            self.compare()

    def close(self) -> None:
        """Stop comparing; only when no connection of this process is open any more."""
        # POSIX drops the locks of a process on a file with the first descriptor that it closes, SQLite's own included.
        self._forget_wal()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _begin(self) -> None:
        self._wal_path = f"{os.path.realpath(self._path)}-wal"  # SQLite follows symbolic links too
        self._descriptor = os.open(self._path, os.O_RDONLY)
        self._file_identity = _identity(os.fstat(self._descriptor))

    def _forget_wal(self) -> None:
        if self._wal is not None:
            os.close(self._wal)  # no process locks this one
            self._wal = None

    def _find_difference(self, descriptor: int) -> str | None:
        self._may_grow = False
        header = os.pread(descriptor, _HEADER.size, 0)
        there = _stat(self._path)
        if there is None:
            return REMOVED
        if _identity(there) != self._file_identity:
            return REPLACED
        if self._is_wal_lost():
            return WAL_LOST
        if os.pread(descriptor, _HEADER.size, 0) != header:
            return None  # a checkpoint came between, so that the size may be one of another header
        return self._find_loss(header, there)

    def _is_wal_lost(self) -> bool:
        wal = _stat(self._wal_path)
        if self._wal is None:
            # A new database has none before its first commit. While no connection is open, the last one is removing
            # it: its thread closes it after the event.
            if wal is not None and self._open:
                self._wal = os.open(self._wal_path, os.O_RDONLY)
                self._wal_identity = _identity(os.fstat(self._wal))
            return False
        if wal is None or _identity(wal) != self._wal_identity:
            return True
        return os.pread(self._wal, 4, 0) not in (b"", *_WAL_MAGIC)  # a checkpoint may have emptied it

    def _find_loss(self, header: bytes, there: os.stat_result) -> str | None:
        """Judge the file by its header and its size."""
        if len(header) < _HEADER.size:
            return CUT
        magic, page_size, counter, pages, valid_for = _HEADER.unpack(header)
        if magic != _MAGIC:
            return OVERWRITTEN
        if counter != valid_for:
            return None  # the header says nothing of the size, or is being written
        if counter < self._counter:
            return OVERWRITTEN
        if there.st_size < self._size and there.st_size < pages * (65_536 if page_size == 1 else page_size):
            # A checkpoint writes a header with another counter first, and the pages beyond the end last.
            is_cut = counter == self._counter or time.time() - there.st_mtime >= CHECKPOINT_SECONDS
            self._may_grow = not is_cut
            return CUT if is_cut else None
        self._size, self._counter = there.st_size, counter
        return None


def _stat(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except FileNotFoundError:
        return None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


class BackupFailed(Exception):
    """There is no copy; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a copy holds: the number of its events, and its size in bytes."""

    events: int
    size: int


def back_up(source: Path, target: Path, on_progress: Callable[[int, int], None]) -> Backup:
    """Copy the database at `source` into a new file, as it is at the moment this begins.

    All steps read the snapshot of one transaction, so that writers neither wait nor make the copy begin again. Until
    it ends the WAL cannot be emptied. `on_progress` is called with the pages copied and the pages in all.

    Raises:
        BackupFailed: when `target` exists, or either file cannot be read or written; then nothing is left at `target`.
    """
    try:
        target.open("xb").close()
    except FileExistsError:
        raise BackupFailed(f"{target} exists: name a file that does not") from None
    except OSError as error:
        raise BackupFailed(f"{target} cannot be written: {error.strerror}") from None
    try:
        return _copy(source, target, on_progress)
    except BaseException as error:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise BackupFailed(f"{source} could not be copied to {target}: {error}") from None
        raise


def _copy(source: Path, target: Path, on_progress: Callable[[int, int], None]) -> Backup:
    # mode=rw: a file that is not there must not be made. Reading a WAL takes the right to write beside it.
    address = f"file:{quote(str(source.resolve()))}?mode=rw"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as reader,
        closing(sqlite3.connect(target, isolation_level=None)) as writer,
    ):
        reader.execute("BEGIN")
        (events,) = reader.execute("SELECT position FROM ledger_head").fetchone()  # the snapshot begins here
        reader.backup(
            writer, pages=PAGES_AT_ONCE, progress=lambda _status, left, pages: on_progress(pages - left, pages)
        )
        reader.execute("ROLLBACK")
        writer.execute("PRAGMA journal_mode = DELETE")  # one file, whole without a WAL beside it
        whole = "SELECT count(*), coalesce(max(position), 0) FROM sync_events"
        if writer.execute(whole).fetchone() != (events, events):
            raise sqlite3.DatabaseError("its positions have gaps")
    return Backup(events, target.stat().st_size)
