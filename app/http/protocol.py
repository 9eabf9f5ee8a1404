"""HTTP/1.1 on one connection, with limits on what a client may send and how long it may take."""

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.config import Settings
from app.http.refusal import Refusal
from app.metrics import HttpMetrics

MAX_PIPELINED_REQUESTS = 16
LINGER_SECONDS = 2
LOOKS_PER_TIMEOUT = 10  # at a client that is slow to read


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, for `uvicorn.Config(http=BoundedHttpProtocol)`; finds what it needs in the lifespan's state.

    - A request line with its headers that is larger than `MAX_HEADER_BYTES` gets 431, and so do such trailers.
    - A request whose headers take longer than `HEADER_TIMEOUT` gets 408. A connection that sends nothing for so long,
      or not the rest of a request that is answered already, is closed.
    - What is not HTTP gets 400, and so does a request of HTTP/1.1 without exactly one Host (RFC 9112, section 3.2).
    - A client that reads nothing of its answers for `KEEP_ALIVE_TIMEOUT` is cut off, one that reads slowly is not.

    Refusals are problem documents, come in their turn after the answers to earlier requests, and end the connection.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        settings: Settings = app_state["settings"]
        self._metrics: HttpMetrics = app_state["metrics"].http
        self.ws_protocol_class = None  # no route is a WebSocket
        self._max_header_bytes = settings.max_header_bytes
        self._header_timeout_seconds = settings.header_timeout
        self._in_head = False
        self._idle_bytes = 0  # received since the parser last got somewhere: what it may be holding
        self._got_somewhere = False
        self._unanswered = 0
        self._deaf = False
        self._refusal: Refusal | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0  # at the last look
        self._read_at = 0.0  # when a look last found that it had changed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Expect a request soon."""
        super().connection_made(transport)
        self._expect_within(self._header_timeout_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        super().connection_lost(exc)
        for timer in (self._timer, self._read_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse `data`; a task is started for every request whose headers are complete."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        self._idle_bytes += len(data)
        self._got_somewhere = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The upgrade is declined by answering the request; what follows it may be in the other protocol.
            self._deaf = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(reason if isinstance(reason, Refusal) else Refusal(400, "This is not HTTP/1.1."))
        else:
            if self._got_somewhere:
                self._idle_bytes = 0
            elif self._idle_bytes > self._max_header_bytes:
                self._refuse(self._too_large())
            if self._deadline is None and (self._in_head or not self._unanswered):
                self._expect_within(self._header_timeout_seconds)

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            raise Refusal(400, f"More than {MAX_PIPELINED_REQUESTS} requests were sent ahead of their answers.")
        super().on_message_begin()
        self._in_head = True
        self._deadline = None

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        if self._idle_bytes > self._max_header_bytes and self._head_bytes() > self._max_header_bytes:
            raise self._too_large()
        if sum(name == b"host" for name, _ in self.headers) != 1 and self.parser.get_http_version() != "1.0":
            raise Refusal(400, "A request needs exactly one header Host.")
        if self.parser.should_upgrade() and self._has_body():
            raise Refusal(400, "A request with a body can not ask for another protocol; leave out the header Upgrade.")
        super().on_headers_complete()
        self._in_head = False
        self._got_somewhere = True
        self._deadline = None
        self._unanswered += 1
        self.headers = []  # for trailers, which must not pass for headers

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._got_somewhere = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request has come, maybe after its answer."""
        self._got_somewhere = True
        super().on_message_complete()
        if not self._unanswered:
            self._expect_within(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """A request is answered."""
        super().on_response_complete()
        self._unanswered -= 1
        self._tell_refusal()

    def pause_writing(self) -> None:
        """The client is slow to read."""
        super().pause_writing()
        self._watch_reader()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for long; a client that still reads its answer has a reason."""
        if not self.transport.get_write_buffer_size():
            super().timeout_keep_alive_handler()
            return
        self._watch_reader()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _watch_reader(self) -> None:
        """Look at the client again and again, until it has read all there is, or nothing for too long."""
        if self._read_timer is None:
            self._unread_bytes = self._count_unread()
            self._read_at = self.loop.time()
            self._look_soon()

    def _look_soon(self) -> None:
        self._read_timer = self.loop.call_later(self.timeout_keep_alive / LOOKS_PER_TIMEOUT, self._look_at_reader)

    def _look_at_reader(self) -> None:
        self._read_timer = None
        if not self.transport.get_write_buffer_size():
            return
        unread_bytes = self._count_unread()
        if unread_bytes != self._unread_bytes:  # more of them: we have written, which ends when the buffer is full
            self._unread_bytes = unread_bytes
            self._read_at = self.loop.time()
        if self.loop.time() - self._read_at >= self.timeout_keep_alive:
            self.transport.abort()
        else:
            self._look_soon()

    def _count_unread(self) -> int:
        """Bytes that the client has not taken: ours, and the kernel's, which can be megabytes that move in one step."""
        return self.transport.get_write_buffer_size() + self._count_in_kernel(termios.TIOCOUTQ)

    def _count_in_kernel(self, queue: int) -> int:
        """Bytes in one of the socket's two queues: `TIOCOUTQ`, or `FIONREAD` for what came and was not read."""
        queued = bytes(4)
        with suppress(OSError):  # a system that does not tell
            queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), queue, queued)
        return int(struct.unpack("i", queued)[0])

    def _head_bytes(self) -> int:
        line = len(self.parser.get_method()) + len(self.url) + len(b"  HTTP/1.1\r\n\r\n")
        return line + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )

    def _too_large(self) -> Refusal:
        return Refusal(431, f"The headers are larger than {self._max_header_bytes} bytes.")

    def _expect_within(self, seconds: float) -> None:
        """Give the client so long; there is one timer, which looks at the deadline of the moment when it goes off."""
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
        in_head = self._in_head and not self._deaf
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._on_timer)
        elif self.flow.read_paused or (in_head and self._count_in_kernel(termios.FIONREAD)):  # it is we who are late
            self._expect_within(self._header_timeout_seconds)
        elif in_head:
            self._refuse(Refusal(408, f"The headers did not come within {self._header_timeout_seconds:g} seconds."))
        else:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Take nothing more, and say why once every earlier request is answered."""
        self._refusal = refusal
        self._deaf = True
        self._deadline = None
        cycle = self.cycle
        if self._unanswered and cycle.more_body and not cycle.response_complete:
            self._give_up_last_request()
        self._tell_refusal()

    def _give_up_last_request(self) -> None:
        """Forget the request whose body is not going to be complete."""
        self._unanswered -= 1
        if self.pipeline:
            self.pipeline.popleft()
            return
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self.cycle.response_started:
            self.transport.close()

    def _tell_refusal(self) -> None:
        if self._refusal is None or self._unanswered or self.transport.is_closing():
            return
        self._refusal.log()
        self._metrics.rejected(self._refusal.reason)
        self._unset_keepalive_if_required()
        self.transport.write(self._refusal.render(self.server_state.default_headers))
        if self.transport.can_write_eof():
            # To close while data is on its way could reset the connection and lose the answer (RFC 9112, section 9.6).
            self.transport.write_eof()
            self.flow.resume_reading()
            self._expect_within(LINGER_SECONDS)
        else:
            self.transport.close()
