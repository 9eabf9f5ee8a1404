"""The orderly end: announces it before the server stops listening, and ends background tasks."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

import structlog

from app.errors import StartupRefused

Handler = Callable[[int, FrameType | None], object]

CANCEL_SECONDS = 2  # a statement on a connection that hangs takes a while to give up

log = structlog.get_logger(__name__)


async def wait_or_cancel(task: "asyncio.Task[Any]", timeout_seconds: float) -> bool:
    """Wait until `task` ends; after `timeout_seconds` cancel it. Returns whether it ended by itself."""
    done, _ = await asyncio.wait({task}, timeout=timeout_seconds)
    if done:
        return True
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    return False


async def wait_for_event(event: asyncio.Event, timeout_seconds: float) -> None:
    """Return once `event` is set, or after `timeout_seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, timeout_seconds)):
            await event.wait()


class Drain:
    """`begun` once SIGTERM came: readiness is red then, while the server still responds.

    The server's own handler, which ends the listening, runs `delay_seconds` later, or immediately at a second signal
    or at SIGINT. Just before it, the callbacks of `before_stop` are called.
    """

    def __init__(self, delay_seconds: float) -> None:
        self.begun = False
        self._delay_seconds = delay_seconds
        self._before_stop: list[Callable[[], None]] = []
        self._starting: asyncio.Task[Any] | None = None

    def before_stop(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop when the server stops listening and begins to wait for open requests."""
        self._before_stop.append(callback)

    @contextmanager
    def ending_start(self) -> Iterator[None]:
        """Cancel the block at a signal, which may wait for a database for long; no request is served yet.

        Raises:
            StartupRefused: instead of the cancellation.
        """
        self._starting = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if not self.begun or self._starting is None:
                raise
            self._starting.uncancel()
            raise StartupRefused("a signal came before the service could serve") from None
        finally:
            self._starting = None

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
            if self._starting is not None:
                loop.call_soon_threadsafe(self._starting.cancel)
            if self.begun or not delay_seconds or self._starting is not None:
                self.begun = True
                stop(number, frame)
                return
            self.begun = True
            loop.call_soon_threadsafe(log.info, "shutdown requested, no longer ready")
            loop.call_soon_threadsafe(loop.call_later, delay_seconds, stop, number, frame)

        return on_signal
