"""HTTP/1.1 on one connection, with limits on what a client may send and how long it may take."""

import asyncio
import termios
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.config import Settings
from app.http.connection import ReaderWatch, Refusal, announces_body, count_head, count_in_kernel, without_chunks
from app.http.connection_limit import ConnectionLimit
from app.metrics import HttpMetrics

MAX_PIPELINED_REQUESTS = 16
LINGER_SECONDS = 2


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits, for `uvicorn.Config(http=…)`.

    It expects `settings`, `metrics` and maybe `connection_limit` in the lifespan's state; requests find the connection
    in theirs.

    - A request line with its headers that is larger than `MAX_HEADER_BYTES` gets 431, and so do such trailers.
    - A request whose headers take longer than `HEADER_TIMEOUT` gets 408. A connection that sends nothing for so long,
      or not the rest of a request that has its response already, is closed.
    - Bytes that are not HTTP get 400, and so does HTTP/1.1 without exactly one Host (RFC 9112, section 3.2).
    - A transfer coding other than `chunked` gets 501 (RFC 9112, section 6.1).
    - A client that reads nothing of its responses for `KEEP_ALIVE_TIMEOUT` is cut off; a slow reader is not.
    - A client that ends its side after its requests still gets its responses, unless these wait for events.
    - A response of unknown length to HTTP/1.0 ends with the connection (RFC 9112, section 6.1).

    Refusals are problem documents, are sent after the responses to earlier requests, and end the connection.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)
        settings: Settings = app_state["settings"]
        self._metrics: HttpMetrics = app_state["metrics"].http
        self.ws_protocol_class = None  # no route is a WebSocket
        self._max_header_bytes = settings.max_header_bytes
        self._header_timeout_seconds = settings.header_timeout
        self._limit: ConnectionLimit | None = app_state.get("connection_limit")
        self._running: RequestResponseCycle | None = None  # or the last one
        self._has_eof = False
        self._ends_at_eof = False  # the running request
        self._in_head = False
        self._idle_bytes = 0  # received since the parser last made progress: it may hold them in memory
        self._has_progressed = False
        self._without_response = 0
        self._is_closing = False
        self._refusal: Refusal | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the time limit of the first request."""
        super().connection_made(transport)
        if self._limit is not None:
            self._limit.make_room(self.connections)  # type: ignore[arg-type]  # all are of this class
        self._reader_watch = ReaderWatch(transport, self.timeout_keep_alive)
        self._expect_within(self._header_timeout_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and notify every request that its client is gone; uvicorn notifies the newest."""
        super().connection_lost(exc)
        self._reader_watch.end()
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        self.cycle = self._running = None  # type: ignore[assignment]  # their requests hold this object

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn closes always
        """The client sends nothing more. Return whether the connection stays open for responses."""
        self._has_eof = True
        if self._without_response and self.cycle.more_body and not self.cycle.response_complete:
            self._give_up_last_request()
        if not self._without_response or self._ends_at_eof:
            return False
        self._deadline = None
        newest = self.pipeline[0][0] if self.pipeline else self._running
        if newest is not None:
            newest.keep_alive = False
        return True

    @property
    def idle_since(self) -> float | None:
        """When the connection was last of use, by the clock of the loop; None while it is."""
        if self._without_response or self.transport.is_closing() or self.transport.get_write_buffer_size():
            return None
        if self.timeout_keep_alive_task is not None:
            return self.timeout_keep_alive_task.when() - self.timeout_keep_alive
        return None if self._deadline is None else self._deadline - self._header_timeout_seconds

    @property
    def has_whole_request(self) -> bool:
        """Whether nothing of the running request is still to come."""
        return self._running is not None and not self._running.more_body

    def end_at_eof(self) -> None:
        """The running request waits for events: it ends when the client sends nothing more."""
        self._ends_at_eof = True
        if self._has_eof:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse `data`; a task is started for every request whose headers are complete."""
        if self._is_closing:
            return
        self._unset_keepalive_if_required()
        self._idle_bytes += len(data)
        self._has_progressed = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # A normal response declines the upgrade; the bytes that follow may be in the other protocol.
            self._is_closing = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(reason if isinstance(reason, Refusal) else Refusal(400, "This is not HTTP/1.1."))
        else:
            if self._has_progressed:
                self._idle_bytes = 0
            elif self._idle_bytes > self._max_header_bytes:
                self._refuse(self._too_large())
            if self._deadline is None and (self._in_head or not self._without_response):
                self._expect_within(self._header_timeout_seconds)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            raise Refusal(400, f"More than {MAX_PIPELINED_REQUESTS} requests were sent before their responses.")
        super().on_message_begin()
        self._in_head = True
        self._deadline = None

    def on_headers_complete(self) -> None:
        """Check the head of a request, and start the application."""
        if self._idle_bytes > self._max_header_bytes:
            head_bytes = count_head(self.parser.get_method(), self.url, self.headers)
            if head_bytes > self._max_header_bytes:
                raise self._too_large()
        hosts = 0
        for name, value in self.headers:
            hosts += name == b"host"
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise Refusal(501, "The only transfer coding that is supported is chunked.")
        if hosts != 1 and self.parser.get_http_version() != "1.0":
            raise Refusal(400, "A request needs exactly one header Host.")
        if self.parser.should_upgrade() and announces_body(self.headers):
            raise Refusal(400, "A request with a body cannot ask for another protocol; leave out the header Upgrade.")
        super().on_headers_complete()
        self._in_head = False
        self._has_progressed = True
        self._deadline = None
        self._without_response += 1
        self.headers = []  # for trailers, which must not be taken for headers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._ends_at_eof = False
        super()._start_asgi_task(cycle, without_chunks(app, cycle) if cycle.scope["http_version"] == "1.0" else app)

    def on_body(self, body: bytes) -> None:
        self._has_progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request has come, maybe after its response was sent."""
        self._has_progressed = True
        super().on_message_complete()
        if not self._without_response:
            self._expect_within(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._without_response -= 1
        self._send_refusal()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_watch.begin()

    def timeout_keep_alive_handler(self) -> None:
        """The client sent nothing for the keep-alive time: close, unless it still reads a response."""
        if not self.transport.get_write_buffer_size():
            super().timeout_keep_alive_handler()
            return
        self._reader_watch.begin()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _too_large(self) -> Refusal:
        return Refusal(431, f"The headers are larger than {self._max_header_bytes} bytes.")

    def _expect_within(self, seconds: float) -> None:
        """Set the deadline of the client. There is one timer, which checks the current deadline when it fires."""
        self._deadline = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        in_head = self._in_head and not self._is_closing
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._on_timer)
        elif self.flow.read_paused or (
            in_head and count_in_kernel(self.transport, termios.FIONREAD)
        ):  # the delay is ours
            self._expect_within(self._header_timeout_seconds)
        elif in_head:
            self._refuse(Refusal(408, f"The headers did not come within {self._header_timeout_seconds:g} seconds."))
        else:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Read nothing more, and send the refusal once every earlier request has its response."""
        self._refusal = refusal
        self._is_closing = True
        self._deadline = None
        cycle = self.cycle
        if self._without_response and cycle.more_body and not cycle.response_complete:
            self._give_up_last_request()
        self._send_refusal()

    def _give_up_last_request(self) -> None:
        """Drop the request whose body will not be complete."""
        self._without_response -= 1
        if self.pipeline:
            self.pipeline.popleft()
            return
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self.cycle.response_started:
            self.transport.close()

    def _send_refusal(self) -> None:
        if self._refusal is None or self._without_response or self.transport.is_closing():
            return
        self._refusal.log()
        self._metrics.rejected(self._refusal.reason)
        self._unset_keepalive_if_required()
        self.transport.write(self._refusal.render(self.server_state.default_headers))
        if self.transport.can_write_eof() and not self._has_eof:
            # To close while data arrives could reset the connection and lose the response (RFC 9112, section 9.6).
            self.transport.write_eof()
            self.flow.resume_reading()
            self._expect_within(LINGER_SECONDS)
        else:
            self.transport.close()
