"""The receiver as an ASGI application of one route: it responds to every POST, whatever its path."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol

from sync_client.commands.message import Content, MessageRefused, read_message
from sync_client.webhooks import ID_HEADER

MAX_BODY_BYTES = 1_048_576
KNOWN_IDS = 100_000

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Printer(Protocol):
    """The output of the receiver."""

    def tell(self, message: Content, body: bytes, *, again: bool) -> None:
        """A message was accepted; `again` when one with the same id came before."""

    def tell_refusal(self, at: datetime, status: HTTPStatus, why: str) -> None:
        """A request was refused."""


class Receiver:
    """Accepts messages signed with `secret`, of any sender without one, and fails a share of them on purpose.

    `random` gives numbers from 0 up to 1.
    """

    def __init__(
        self,
        printer: Printer,
        *,
        secret: str | None,
        fail_rate: float,
        random: Callable[[], float],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._printer = printer
        self._secret = secret
        self._fail_rate = fail_rate
        self._random = random
        self._clock = clock
        self._known: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Respond to one request: 204 when the message is accepted, else an error with one line of text."""
        try:
            await self._take(scope, receive)
        except MessageRefused as refusal:
            self._printer.tell_refusal(self._clock(), refusal.status, str(refusal))
            await _answer(send, refusal.status, f"{refusal}\n".encode())
        else:
            await _answer(send, HTTPStatus.NO_CONTENT, b"")

    async def _take(self, scope: dict[str, Any], receive: Receive) -> None:
        if scope["method"] != "POST":
            raise MessageRefused(HTTPStatus.METHOD_NOT_ALLOWED, "only POST is accepted")
        body = await _read_body(receive)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        message = read_message(headers, body, self._secret)
        if self._random() < self._fail_rate:
            raise MessageRefused(HTTPStatus.INTERNAL_SERVER_ERROR, "failed on purpose (--fail-rate)")
        self._printer.tell(message, body, again=self._note(headers[ID_HEADER]))

    def _note(self, message_id: str) -> bool:
        """Whether the id is known already; note it."""
        again = message_id in self._known
        self._known[message_id] = None
        self._known.move_to_end(message_id)
        if len(self._known) > KNOWN_IDS:
            self._known.popitem(last=False)
        return again


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        part = await receive()
        if part["type"] != "http.request":
            raise MessageRefused(HTTPStatus.BAD_REQUEST, "the request broke off")
        body += part.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise MessageRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
        if not part.get("more_body", False):
            return bytes(body)


async def _answer(send: Send, status: HTTPStatus, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")] if body else []
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"POST"))
    if status is not HTTPStatus.NO_CONTENT:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
