"""Writes log lines to standard error without ever waiting for its reader."""

import asyncio
import errno
import fcntl
import logging
import os
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

PIPE_BYTES = 1_048_576  # Linux gives 64 KiB unless asked for more, which a reader that pauses briefly lets fill up
STDERR = 2

Write = Callable[[bytes], int]

_log = structlog.get_logger(__name__)


class StderrHandler(logging.Handler):
    """Writes to the current stderr. It reports that a record cannot be rendered, and nothing of its content.

    A line that a pipe, a socket, a terminal or a full disk does not take immediately is dropped. `on_drop` is called
    for each dropped line, and before the next written line comes a line with the number of dropped ones.

    The lines of requests are written together at the end of a turn of the event loop, or before the next other line:
    one after another they take half the time that they take between requests.
    """

    def __init__(self, render_request: Callable[[int, float, dict[str, Any]], str]) -> None:
        super().__init__()
        self._render_request = render_request
        self._requests: deque[tuple[int, float, dict[str, Any]]] = deque()
        self._will_flush = False
        self.on_drop: Callable[[], object] = lambda: None
        self._write: Write | None = None
        # Else it is read in this process, or closed: then its number may name any other file.
        if sys.stderr is not None and sys.stderr is sys.__stderr__:
            with suppress(OSError):
                self._write = _open_without_waiting()
        self._rest = b""  # of a line that was written in part
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`, or drop it; the lock of the handler is held."""
        self._write_requests()
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - logging must never break its caller
            if record.name != __name__:
                _log.error("a log line could not be written", of=record.name, error=type(error).__name__)
            return
        self._write_line(line)

    def write_request(self, level: int, fields: dict[str, Any]) -> None:
        """Write the line of a request, without a record and the filters of the standard library.

        Call it in the thread of the event loop.
        """
        self._requests.append((level, time.time(), fields))
        if not self._will_flush:
            self._will_flush = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write the lines that wait; the standard library calls this at the end of the process too."""
        self._will_flush = False
        self.acquire()
        try:
            self._write_requests()
        finally:
            self.release()

    def _write_requests(self) -> None:
        while self._requests:
            self._write_line(self._render_request(*self._requests.popleft()))

    def _write_line(self, line: str) -> None:
        try:
            if self._write is None or sys.stderr is not sys.__stderr__:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
            else:
                self._send(self._write, f"{line}\n".encode(errors="backslashreplace"))
        except (OSError, ValueError, AttributeError):  # it has no reader any more
            self._drop()

    def _send(self, write: Write, line: bytes) -> None:
        """Write a whole line or nothing; what a pipe takes of a longer one is completed before the next."""
        try:
            while self._rest:
                self._rest = self._rest[write(self._rest) :]
            self._rest = line[write(line) :]
        except OSError:
            self._drop()
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            _log.warning("log lines were dropped: standard error did not take them at once", lines=dropped)

    def _drop(self) -> None:
        self._dropped += 1
        self.on_drop()


def count_dropped_lines(count: Callable[[], object]) -> None:
    """Call `count` for each log line that this process drops from now on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, StderrHandler):
            handler.on_drop = count


def _open_without_waiting() -> Write:
    """A function that writes to stderr without waiting.

    The mode of an open file is shared with every process that has inherited it, such as a shell's other commands. So a
    pipe or a terminal is opened once more; a user who may not do that gets the mode of the inherited one changed.

    Raises:
        OSError: stderr is closed.
    """
    mode = os.fstat(STDERR).st_mode
    if stat.S_ISSOCK(mode):
        connected = socket.socket(fileno=os.dup(STDERR))
        return lambda data: connected.send(data, socket.MSG_DONTWAIT)
    descriptor = STDERR
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            descriptor = os.open(f"/dev/fd/{STDERR}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.ENOENT, errno.ENXIO}:
                raise
            if stat.S_ISFIFO(mode):
                os.set_blocking(STDERR, False)
        if stat.S_ISFIFO(mode):
            with suppress(OSError, AttributeError):  # a system without it, or a user who has too many large pipes
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return lambda data: os.write(descriptor, data)
