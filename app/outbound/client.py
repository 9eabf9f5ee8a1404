"""Sends one request to a subscriber and says what came of it, whatever that is."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpcore
import httpx
import structlog

from app.errors import describe
from app.outbound.address import DEFAULT_PORTS, AddressPolicy, AddressRefused, Target
from app.outbound.connector import AnswerTooLarge, Connector, NameUnknown, Resolve
from app.outbound.pool import ConnectionPool
from app.outbound.response import SHOWN_BYTES, Answer, printable, retry_after_seconds

# Shorter than the 5 seconds after which many servers close an idle connection, so that few are found closed.
KEEP_ALIVE_SECONDS = 4.0
MAX_CONNECTION_SECONDS = 60.0  # until a host's address is looked up and checked again
MAX_IDLE_CONNECTIONS = 200

# What frames the message or belongs to the connection is for the sender to say.
FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)

_BROKEN: tuple[tuple[type[Exception], str], ...] = (
    (AnswerTooLarge, "the answer's headers are too large"),
    (httpcore.RemoteProtocolError, "the answer is not HTTP, or it broke off"),
    (httpcore.NetworkError, "the connection broke off"),
    (httpcore.LocalProtocolError, "the request can not be sent as it is"),
    (UnicodeEncodeError, "the request can not be sent as it is"),
)

log = structlog.get_logger(__name__)


class Sender:
    """Sends with connections that are kept for the next request to the same origin.

    It follows no redirect, knows no proxy and no cookie, and verifies TLS. An attempt takes `timeout_seconds` at most.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        timeout_seconds: float,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._policy = policy
        self._timeout = timeout_seconds
        self._clock = clock
        self._connector = Connector(policy, resolve)
        self._pool = ConnectionPool(
            self._connector,
            ssl_context or httpx.create_ssl_context(),
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            max_idle=MAX_IDLE_CONNECTIONS,
            max_age_seconds=MAX_CONNECTION_SECONDS,
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST `body` and return the answer; what goes wrong is an answer too."""
        started = time.monotonic()
        progress = _Progress()
        try:
            async with asyncio.timeout(self._timeout):
                target = self._policy.get_target(url)
                answer = await self._post(target, headers, body, progress)
        except Exception as error:  # noqa: BLE001 - whatever a receiver does, the dispatcher goes on
            answer = self._failure(error, progress)
        return replace(answer, duration_seconds=time.monotonic() - started)

    async def close(self) -> None:
        """Close all connections."""
        self._connector.close()
        await self._pool.aclose()

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes, progress: "_Progress") -> Answer:
        request = _request(target, headers, body, progress)
        try:
            return await self._exchange(request)
        except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
            # A kept connection that the receiver closed just then says nothing of the receiver.
            if progress.connected or progress.answered:
                raise
        return await self._exchange(request, anew=True)  # it may have closed the other kept ones too

    async def _exchange(self, request: httpcore.Request, *, anew: bool = False) -> Answer:
        async with self._pool.stream(request, anew=anew) as response:
            return Answer(
                duration_seconds=0,
                status_code=response.status,
                retry_after_seconds=retry_after_seconds(response.headers, self._clock()),
                response=printable(await _read_start(response)),
            )

    def _failure(self, error: Exception, progress: "_Progress") -> Answer:
        answer = partial(Answer, duration_seconds=0)
        if isinstance(error, AddressRefused):
            return answer(error=str(error), refused=True)
        if isinstance(error, TimeoutError) and progress.sending:
            return answer(error=f"no whole answer within {self._timeout:g} seconds", timed_out=True)
        if isinstance(error, (TimeoutError, httpcore.ConnectTimeout)):
            return answer(error=f"no connection within {self._timeout:g} seconds", unreachable=True)
        if isinstance(error, httpcore.ConnectError):
            return answer(error=_why_no_connection(error), unreachable=True)
        for kind, text in _BROKEN:
            if isinstance(error, kind):
                return answer(error=text)
        log.error("webhook attempt met a bug", reason=describe(error))
        return answer(error="an unexpected error")


class _Progress:
    """How far a request has come, as httpcore tells it."""

    def __init__(self) -> None:
        self.connected = False  # anew, for this request
        self.sending = False
        self.answered = False

    async def note(self, name: str, _info: dict[str, Any]) -> None:
        match name:
            case "connection.connect_tcp.started":
                self.connected, self.sending = True, False
            case "http11.send_request_headers.started":
                self.sending = True
            case "http11.receive_response_headers.complete":
                self.answered = True


def _request(target: Target, headers: Mapping[str, str], body: bytes, progress: _Progress) -> httpcore.Request:
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    fields = _fields(target, headers, body)
    return httpcore.Request("POST", url, headers=fields, content=body, extensions={"trace": progress.note})


def _fields(target: Target, headers: Mapping[str, str], body: bytes) -> list[tuple[bytes, bytes]]:
    host = f"[{target.host}]" if ":" in target.host else target.host
    own = {
        "host": host if target.port == DEFAULT_PORTS[target.scheme] else f"{host}:{target.port}",
        "content-length": str(len(body)),
        "accept-encoding": "identity",
        **{name.lower(): value for name, value in headers.items() if name.lower() not in FRAMING_HEADERS},
    }
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in own.items()]


async def _read_start(response: httpcore.Response) -> bytes:
    """The body's first bytes. The rest is read too, as long as it is small, so that the connection can be kept."""
    start = bytearray()
    try:
        async for part in response.aiter_stream():
            start += part[: SHOWN_BYTES - len(start)]
    except AnswerTooLarge:
        pass  # it is an answer all the same
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
