"""The HTTP client for requests to addresses that users choose."""

import asyncio
import codecs
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import MAXYEAR, UTC, datetime
from email.utils import parsedate_to_datetime, parsedate_tz
from functools import partial
from http import HTTPStatus
from typing import Any

import httpcore
import httpx
import structlog

from app.errors import describe
from app.outbound.address import AddressPolicy, AddressRefused, Target
from app.outbound.connection import (
    MAX_RESPONSE_BYTES,
    ConnectionPool,
    Connector,
    NameUnknown,
    Resolve,
    ResponseTooLarge,
)

# Shorter than the 5 seconds after which many servers close an idle connection, so that few are found closed.
KEEP_ALIVE_SECONDS = 4.0
MAX_CONNECTION_SECONDS = 60.0  # until a host's address is looked up and checked again
MAX_IDLE_CONNECTIONS = 200
SHOWN_BYTES = 1024  # of a response's body
TOO_LARGE = "the response is too large"
LONGEST_SECONDS = 1e9  # of a Retry-After, which its users limit further

# Headers that frame the message or belong to the connection, which this client sets itself.
FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)

_Read = Callable[[httpcore.Response], Awaitable[bytes]]  # reads the body

_BROKEN: tuple[tuple[type[Exception], str], ...] = (
    (ResponseTooLarge, TOO_LARGE),
    (httpcore.RemoteProtocolError, "the response is not HTTP, or it broke off"),
    (httpcore.NetworkError, "the connection broke off"),
    (httpcore.LocalProtocolError, "the request cannot be sent as it is"),
    (UnicodeEncodeError, "the request cannot be sent as it is"),
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResponse:
    """The result of one attempt. Without an HTTP response `status_code` is None and `error` has a short reason."""

    duration_seconds: float
    status_code: int | None = None
    retry_after_seconds: float | None = None
    body: str = ""  # the first KiB of the response body, as printable text
    content: bytes = b""  # the body as it came: all of it, its first KiB, or nothing, as the call says
    error: str | None = None
    refused: bool = False  # the address is not allowed
    unreachable: bool = False  # no connection: no address, connection refused, TLS failed
    timed_out: bool = False


class OutboundClient:
    """Sends requests over connections that are kept for the next request to the same origin.

    It follows no redirects, uses no proxy and no cookies, and verifies TLS. An attempt takes at most `timeout_seconds`,
    and a failure is a result too.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        timeout_seconds: float,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._policy = policy
        self._timeout = timeout_seconds
        self._clock = clock
        self._connector = Connector(policy, resolve, max_response_bytes)
        self._pool = ConnectionPool(
            self._connector,
            ssl_context or httpx.create_ssl_context(),
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            max_idle=MAX_IDLE_CONNECTIONS,
            max_age_seconds=MAX_CONNECTION_SECONDS,
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> AttemptResponse:
        """POST `body`; the result has the first KiB of its `content`."""
        return await self._attempt("POST", url, headers, read=_read_start, body=body)

    async def get(self, url: str, headers: Mapping[str, str]) -> AttemptResponse:
        """GET `url`; the result has its whole `content`."""
        return await self._attempt("GET", url, headers)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AttemptResponse:
        """POST `body`; the result has its whole `content`."""
        return await self._attempt("POST", url, headers, body=body)

    async def head(self, url: str, headers: Mapping[str, str]) -> AttemptResponse:
        return await self._attempt("HEAD", url, headers)

    async def get_status(self, url: str, headers: Mapping[str, str]) -> AttemptResponse:
        """GET `url`, but close the connection after the headers of the response."""
        return await self._attempt("GET", url, headers, read=_read_nothing)

    async def stream(
        self, url: str, headers: Mapping[str, str], consume: Callable[[bytes], object], max_seconds: float
    ) -> AttemptResponse:
        """GET `url` and give each part of the body of a response with status 200 to `consume`.

        The time-out of the client is that of each part, and the whole takes at most `max_seconds`. After a failure
        `consume` may have had parts.
        """

        async def read(response: httpcore.Response) -> bytes:
            if response.status == HTTPStatus.OK:
                async for part in response.aiter_stream():
                    consume(part)
            return b""

        return await self._attempt("GET", url, headers, read=read, seconds=max_seconds, part_seconds=self._timeout)

    async def close(self) -> None:
        self._connector.close()
        await self._pool.aclose()

    async def _attempt(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        read: _Read = httpcore.Response.aread,
        body: bytes | None = None,
        seconds: float | None = None,
        part_seconds: float | None = None,
    ) -> AttemptResponse:
        """An attempt of at most `seconds` in all, and `part_seconds` between two parts of the response."""
        seconds = seconds or self._timeout
        started = time.monotonic()
        progress = _Progress()
        try:
            async with asyncio.timeout(seconds):
                target = self._policy.get_target(url)
                request = httpcore.Request(
                    method,
                    httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
                    headers=_fields(target, headers, body),
                    content=body,
                    extensions={
                        "trace": progress.note,
                        "timeout": {"connect": part_seconds, "read": part_seconds},
                    },
                )
                response = await self._send(request, read, progress)
        except Exception as error:  # noqa: BLE001 - the caller goes on after any failure of the other side
            response = _failure(error, progress, seconds)
        return replace(response, duration_seconds=time.monotonic() - started)

    async def _send(self, request: httpcore.Request, read: _Read, progress: "_Progress") -> AttemptResponse:
        try:
            return await self._exchange(request, read)
        except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
            # A kept connection that the receiver closed just then is no failure of the receiver.
            if progress.connected or progress.response_started:
                raise
        # It may have closed the other kept ones too.
        return await self._exchange(request, read, new_connection=True)

    async def _exchange(
        self, request: httpcore.Request, read: _Read, *, new_connection: bool = False
    ) -> AttemptResponse:
        async with self._pool.stream(request, new_connection=new_connection) as response:
            content = await read(response)
            return AttemptResponse(
                duration_seconds=0,
                status_code=response.status,
                retry_after_seconds=retry_after_seconds(response.headers, self._clock()),
                body=printable(content),
                content=content,
            )


class _Progress:
    """The progress of a request, from httpcore's trace events."""

    def __init__(self) -> None:
        self.connected = False  # a new connection, for this request
        self.sending = False
        self.response_started = False

    async def note(self, name: str, _info: dict[str, Any]) -> None:
        match name:
            case "connection.connect_tcp.started":
                self.connected, self.sending = True, False
            case "http11.send_request_headers.started":
                self.sending = True
            case "http11.receive_response_headers.complete":
                self.response_started = True


def _fields(target: Target, headers: Mapping[str, str], body: bytes | None) -> list[tuple[bytes, bytes]]:
    own = {
        "host": target.authority,
        **({} if body is None else {"content-length": str(len(body))}),
        "accept-encoding": "identity",
        **{name.lower(): value for name, value in headers.items() if name.lower() not in FRAMING_HEADERS},
    }
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in own.items()]


def _failure(error: Exception, progress: _Progress, seconds: float) -> AttemptResponse:
    result = partial(AttemptResponse, duration_seconds=0)
    if isinstance(error, AddressRefused):
        return result(error=str(error), refused=True)
    if isinstance(error, httpcore.ReadTimeout) or (isinstance(error, TimeoutError) and progress.sending):
        return result(error=f"no complete response within {seconds:g} seconds", timed_out=True)
    if isinstance(error, (TimeoutError, httpcore.ConnectTimeout)):
        return result(error=f"no connection within {seconds:g} seconds", unreachable=True)
    if isinstance(error, httpcore.ConnectError):
        return result(error=_why_no_connection(error), unreachable=True)
    for kind, text in _BROKEN:
        if isinstance(error, kind):
            return result(error=text)
    log.error("outbound request failed unexpectedly", reason=describe(error))
    return result(error="an unexpected error")


async def _read_nothing(_response: httpcore.Response) -> bytes:
    return b""


async def _read_start(response: httpcore.Response) -> bytes:
    """The first bytes of the body. A small rest is read too, so that the connection can be kept."""
    start = bytearray()
    try:
        async for part in response.aiter_stream():
            start += part[: SHOWN_BYTES - len(start)]
    except ResponseTooLarge:
        pass  # the status counts all the same
    return bytes(start)


def _why_no_connection(error: httpcore.ConnectError) -> str:
    if isinstance(error, NameUnknown):
        return "the host name has no address"
    # The pool takes the cause away; its mapping of errors leaves it as the argument.
    cause = error.args[0] if error.args else None
    while isinstance(cause, BaseException):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the TLS certificate is not trusted: {printable(cause.verify_message.encode())}"
        if isinstance(cause, ssl.SSLError):
            return "TLS failed"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        cause = cause.__cause__
    return "no connection"


def printable(body: bytes) -> str:
    """The first KiB of `body` as text without control characters, bidirectional marks and broken characters."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # drops a character that is cut at the end
    text = decoder.decode(body[:SHOWN_BYTES]).replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def retry_after_seconds(headers: Sequence[tuple[bytes, bytes]], now: datetime) -> float | None:
    """The seconds that Retry-After asks for, in either form (RFC 9110, section 10.2.3); None without a valid value."""
    values = [value.decode("latin-1").strip() for name, value in headers if name.lower() == b"retry-after"]
    if len(values) != 1:
        return None
    [value] = values
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_SECONDS)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        parts = parsedate_tz(value)
        return LONGEST_SECONDS if parts and parts[0] > MAXYEAR else None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(max(0.0, (at - now).total_seconds()), LONGEST_SECONDS)
