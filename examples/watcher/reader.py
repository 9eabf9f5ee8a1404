"""Reads one file of the folder into blocks, and checks that it did not change meanwhile."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from watcher.block import Blocks, cut
from watcher.scanner import Fingerprint

# A file may have become a link or a named pipe since the scan: follow neither, and never wait.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FileChanged(Exception):
    """The file is not, or no longer, the one of the scan; read it later."""


def read_blocks(path: Path, expected: Fingerprint, on_block: Callable[[int], None]) -> Blocks:
    """Digest the file at `path`; `on_block` gets the bytes of each block, and stops the reading by raising.

    Raises:
        FileChanged: the file did not have the fingerprint `expected` from the first byte to the last.
        OSError: it cannot be read.
    """
    with os.fdopen(os.open(path, _OPEN_FLAGS), "rb") as stream:
        _check(stream.fileno(), expected)
        blocks = cut(stream, on_block)
        _check(stream.fileno(), expected)
    return blocks


def _check(descriptor: int, expected: Fingerprint) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or Fingerprint.of(status) != expected:
        raise FileChanged
