"""Stores of a follower's cursor: a file, or two callables."""

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from sync_client.bookmark import Bookmark
from sync_client.errors import CursorStoreError

MAX_BYTES = 2048  # no cursor is as long


class CursorStore(Protocol):
    """Keeps one cursor, a line of printable ASCII. Both methods may be plain or async."""

    def load(self) -> str | Awaitable[str | None] | None:
        """The cursor saved last; None when there is none yet."""

    def save(self, cursor: str, /) -> Awaitable[None] | None:
        """Keep `cursor` from now on."""


class CursorCalls:
    """A store of two callables, plain or async. Their exceptions reach the follower's caller."""

    def __init__(
        self,
        load: Callable[[], str | Awaitable[str | None] | None],
        save: Callable[[str], Awaitable[None] | None],
    ) -> None:
        self._load = load
        self._save = save

    def load(self) -> str | Awaitable[str | None] | None:
        """See `CursorStore`."""
        return self._load()

    def save(self, cursor: str) -> Awaitable[None] | None:
        """See `CursorStore`."""
        return self._save(cursor)


class CursorFile:
    """A store in a file that is replaced as a whole and flushed to disk: a crash leaves the old cursor or the new one.

    One follower at a time may use it. An async follower loads and saves it in a thread.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def load(self) -> str | None:
        """See `CursorStore`.

        Raises:
            CursorStoreError: the file cannot be read, or contains no cursor.
        """
        try:
            with self._path.open("rb") as stream:
                content = stream.read(MAX_BYTES)
            text = content.decode("ascii").removesuffix("\n")
            Bookmark.parse(text)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CursorStoreError(f"{self._path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise CursorStoreError(f"{self._path} contains no cursor; move it away to start over") from error
        return text

    def save(self, cursor: str) -> None:
        """See `CursorStore`.

        Raises:
            CursorStoreError: the file cannot be written.
        """
        folder = self._path.parent
        try:
            descriptor, draft = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=folder)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                    stream.write(f"{cursor}\n")
                    stream.flush()
                    os.fsync(stream.fileno())
                Path(draft).replace(self._path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
            _flush(folder)
        except OSError as error:
            raise CursorStoreError(f"{self._path} cannot be written ({error.strerror})") from error


def _flush(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
