"""Announces the end of the process before its server stops listening."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import structlog

Handler = Callable[[int, FrameType | None], object]

log = structlog.get_logger(__name__)


class Drain:
    """`begun` once SIGTERM came: readiness is red then, while the server still answers.

    The server's own handler, which ends the listening, runs `delay_seconds` later, or at once at a second signal or at
    SIGINT. Just before it, what was given to `before_stop` is called.
    """

    def __init__(self, delay_seconds: float) -> None:
        self.begun = False
        self._delay_seconds = delay_seconds
        self._before_stop: list[Callable[[], None]] = []

    def before_stop(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop when the server stops to listen: it waits for every open request then."""
        self._before_stop.append(callback)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Receive the signals before the server does, where it has handlers: in the main thread of a server process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with ExitStack() as stack:
            for number, delay_seconds in ((signal.SIGTERM, self._delay_seconds), (signal.SIGINT, 0)):
                server = signal.getsignal(number)
                if callable(server):
                    stack.callback(signal.signal, number, server)
                    signal.signal(number, self._handler(server, delay_seconds))
            yield

    def _handler(self, server: Handler, delay_seconds: float) -> Handler:
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: FrameType | None) -> None:
            for callback in self._before_stop:
                loop.call_soon_threadsafe(callback)
            server(number, frame)

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.begun or not delay_seconds:
                self.begun = True
                stop(number, frame)
                return
            self.begun = True
            loop.call_soon_threadsafe(log.info, "shutdown requested, no longer ready")
            loop.call_soon_threadsafe(loop.call_later, delay_seconds, stop, number, frame)

        return on_signal
