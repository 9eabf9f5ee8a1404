"""Connections below HTTP: the sockets that listen, the watch on slow readers, the refusal of malformed requests."""

import asyncio
import errno
import fcntl
import json
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from uuid_utils.compat import uuid7
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.errors import PROBLEM_JSON, PlainProblem, StartupRefused, phrase, problem_document

UNIX = "unix:"
LOOKS_PER_TIMEOUT = 10  # at a client that is slow to read

_access_log = structlog.get_logger("app.access")

_REASONS = {400: "not_http", 408: "slow_headers", 431: "large_headers", 501: "not_http"}


def address(host: str, port: int) -> str:
    """Host and port as in a URL (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unix_path(host: str) -> Path | None:
    """The path of `unix:/path`; None for a host of the network."""
    return Path(host.removeprefix(UNIX)) if host.startswith(UNIX) else None


def bind(host: str, port: int, *, setting: str, shared: bool = False) -> list[socket.socket]:
    """Sockets bound to `port`, which listen once they are served; `localhost` has one for each family of addresses.

    With `unix:/path` it is a Unix socket, which every user of the machine may connect to. With `shared`, other
    processes can bind the port too.

    Raises:
        StartupRefused: the service cannot listen there; the message names its `setting`.
    """
    path = unix_path(host)
    if path is not None:
        return [_bind_path(path)]
    listeners = []
    for one in ("127.0.0.1", "::1") if host == "localhost" else (host,):
        listener = socket.socket(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((one, port))
        except OSError as error:
            listener.close()
            if one == "::1" and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                continue  # a machine without IPv6
            raise StartupRefused(f"{setting}: cannot listen on {address(one, port)}: {error.strerror}") from None
        listeners.append(listener)
    return listeners


def _bind_path(path: Path) -> socket.socket:
    """A Unix socket in place of one that a process left there when it was killed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if path.is_socket() and probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()
        listener.bind(str(path))
        listener.listen()  # immediately, or another process that starts now would take it for a leftover
        path.chmod(0o666)
    except OSError as error:
        listener.close()
        raise StartupRefused(f"SERVER_HOST: cannot listen on {UNIX}{path}: {error.strerror or error}") from None
    return listener


@contextmanager
def removing(path: Path | None) -> Iterator[None]:
    """At the end of the block remove the Unix socket that is at `path` now, but not one that a successor put there."""
    if path is None:
        yield
        return
    ours = _identity(path)
    try:
        yield
    finally:
        if ours is not None and _identity(path) == ours:
            path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns  # the number of a removed file is given again


class Refusal(Exception):
    """A connection ends because of what its client sent. A refusal has a request id and a log line of its own.

    `reason` is its label in the metrics.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = _REASONS[status]
        self.request_id = str(uuid7())

    def log(self) -> None:
        _access_log.info("request refused", status=self.status, reason=str(self), request_id=self.request_id)

    def render(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The whole response as HTTP/1.1, with these `headers` and its own."""
        body = json.dumps(problem_document(PlainProblem(self.status, str(self)), self.request_id)).encode()
        own = {
            "Content-Type": PROBLEM_JSON,
            "Content-Length": str(len(body)),
            "X-Request-ID": self.request_id,
            "Connection": "close",
        }
        return b"".join(
            (
                f"HTTP/1.1 {self.status} {phrase(self.status)}\r\n".encode(),
                *(b"%b: %b\r\n" % header for header in headers),
                *(f"{name}: {value}\r\n".encode() for name, value in own.items()),
                b"\r\n",
                body,
            )
        )


class ReaderWatch:
    """Cuts off a client that reads nothing of its responses for `timeout_seconds`; a slow reader is not."""

    def __init__(self, transport: asyncio.Transport, timeout_seconds: float) -> None:
        self._transport = transport
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0  # at the last look
        self._read_at = 0.0  # when a look last found that it had changed

    def begin(self) -> None:
        """Check the client repeatedly, until it has read everything, or nothing for too long."""
        if self._timer is None:
            self._unread_bytes = self._count_unread()
            self._read_at = self._loop.time()
            self._look_soon()

    def end(self) -> None:
        """Stop: the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_soon(self) -> None:
        self._timer = self._loop.call_later(self._timeout_seconds / LOOKS_PER_TIMEOUT, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        unread_bytes = self._count_unread()
        if unread_bytes != self._unread_bytes:  # more of them: we have written, which ends when the buffer is full
            self._unread_bytes = unread_bytes
            self._read_at = self._loop.time()
        if self._loop.time() - self._read_at >= self._timeout_seconds:
            self._transport.abort()
        else:
            self._look_soon()

    def _count_unread(self) -> int:
        """Bytes that the client has not read, in our buffer and in the kernel's, which can be megabytes."""
        return self._transport.get_write_buffer_size() + count_in_kernel(self._transport, termios.TIOCOUTQ)


def count_in_kernel(transport: asyncio.Transport, queue: int) -> int:
    """Bytes in one of the socket's two queues: `TIOCOUTQ`, or `FIONREAD` for bytes received and not read."""
    queued = bytes(4)
    with suppress(OSError):  # a system without this call
        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), queue, queued)
    return int(struct.unpack("i", queued)[0])


def count_head(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of a request line with its headers."""
    line = len(method) + len(target) + len(b"  HTTP/1.1\r\n\r\n")
    return line + sum(len(name) + len(value) + len(b": \r\n") for name, value in headers)


def announces_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")) for name, value in headers
    )


def without_chunks(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """`app` for HTTP/1.0, which has no chunks: a body of unknown length is all that comes until the connection ends."""

    has_length = True

    async def send(message: ASGISendEvent) -> None:
        nonlocal has_length
        if message["type"] == "http.response.start":
            has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            cycle.chunked_encoding = None if has_length else False
        elif message["type"] == "http.response.body" and not has_length:
            cycle.expected_content_length = len(message.get("body", b""))
        await cycle.send(message)

    async def respond(scope: Scope, receive: ASGIReceiveCallable, _send: ASGISendCallable) -> None:
        await app(scope, receive, send)

    return respond
