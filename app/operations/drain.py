"""Tells that the process is about to end, before its server stops to listen."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

log = structlog.get_logger(__name__)


class Drain:
    """`begun` once SIGTERM came: readiness is red then, while the server still answers.

    The server's own handler, which ends the listening, runs `delay_seconds` later, or at once at a second signal.
    """

    def __init__(self, delay_seconds: float) -> None:
        self.begun = False
        self._delay_seconds = delay_seconds

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hear SIGTERM before the server does, where it has a handler: in the main thread of a server process."""
        server = signal.getsignal(signal.SIGTERM)
        if not callable(server) or threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def on_sigterm(number: int, frame: FrameType | None) -> None:
            if self.begun or not self._delay_seconds:
                self.begun = True
                server(number, frame)
                return
            self.begun = True
            loop.call_soon_threadsafe(log.info, "told to end, not ready any more")
            loop.call_soon_threadsafe(loop.call_later, self._delay_seconds, server, number, frame)

        signal.signal(signal.SIGTERM, on_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server)
