"""Copies a SQLite database while the service writes to it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

PAGES_AT_ONCE = 256
BUSY_SECONDS = 5

Progress = Callable[[int, int], None]


class BackupFailed(Exception):
    """There is no copy; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a copy holds: the number of its events, and its size in bytes."""

    events: int
    size: int


def back_up(source: Path, target: Path, on_progress: Progress) -> Backup:
    """Copy the database at `source` into a new file, as it is at the moment this begins.

    All steps read the snapshot of one transaction, so that writers neither wait nor make the copy begin again. Until
    it ends the WAL cannot be emptied. `on_progress` is called with the pages copied and those there are.

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
    except sqlite3.Error as error:
        _remove(target)
        raise BackupFailed(f"{source} could not be copied to {target}: {error}") from None
    except BaseException:
        _remove(target)
        raise


def _copy(source: Path, target: Path, on_progress: Progress) -> Backup:
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


def _remove(target: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{target}{suffix}").unlink()
