"""The one pure ASGI middleware: id, concurrency limit, metrics and log line of every request, and its last resort."""

import asyncio
import logging
import re
import time
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from app.concurrency.fair_semaphore import ConcurrencyLimited, caller
from app.errors import Unavailable, bug_response, describe, problem_response
from app.http.protocol import BoundedHttpProtocol
from app.log import LOGGED
from app.log.request_line import begin_request, bind_request_fields, log_request
from app.metrics import HttpMetrics

T = TypeVar("T")

_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")

CLIENT_LEFT = 499
SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
# Paths of probes and scrapes: logged only when they fail, and let through whatever the load.
PROBE_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})


class ResponseCutOff(Exception):
    """The rest of a response cannot be had, which is in the log. The server closes the connection."""


class TooManyUnderWay(Unavailable):
    """503; nothing was done."""

    code, detail = "too-many-requests-under-way", "Too many requests are under way; try again."


class OpenRequest:
    """A request under way: its id, the status of its response once that has begun (else 0), and its permits.

    `subject` is that of its token, once `belong_to` was called.
    """

    __slots__ = (
        "_connection",
        "_middleware",
        "_send",
        "id",
        "is_long_lived",
        "permits",
        "started",
        "status",
        "subject",
    )

    def __init__(self, scope: Scope, send: Send, middleware: "RequestMiddleware") -> None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        self.id = sane_request_id(given.decode("latin-1") if given else None)
        self.status = 0
        self.is_long_lived = False
        self.permits = 0 if scope["path"] in PROBE_PATHS else 1
        self.started = time.perf_counter()
        self._send = send
        self.subject: str | None = None
        self._middleware = middleware
        self._connection: BoundedHttpProtocol | None = scope["state"].get("connection") if "state" in scope else None

    @property
    def client_has_left(self) -> bool:
        """Whether nothing that is sent from now on can reach the client."""
        return self._connection is not None and self._connection.transport.is_closing()

    @property
    def has_arrived(self) -> bool:
        """Whether the whole request, its body included, is here already."""
        return self._connection is not None and self._connection.has_whole_request

    def belong_to(self, subject: str) -> None:
        """Count the request as one of `subject`, within its share.

        Raises:
            ConcurrencyLimited: 429.
        """
        self._middleware.count(self, subject)

    async def send(self, message: Message) -> None:
        """Send a part of the response, its start with `X-Request-ID` and `X-Content-Type-Options: nosniff`.

        A response without `Cache-Control` gets `no-store`.
        """
        if message["type"] == "http.response.start":
            self.status = CLIENT_LEFT if self.client_has_left else message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.id.encode()), _NO_SNIFF]
            for name, _ in headers:
                if name == b"cache-control":
                    break
            else:
                headers.append(_NO_STORE)
            message["headers"] = headers
        await self._send(message)

    def become_long_lived(self) -> None:
        """The request waits for events to come, as streams and long polls do: it leaves its permit to others.

        It ends with the client's side of the connection.
        """
        if not self.is_long_lived:
            self.is_long_lived = True
            self._middleware.leave(self)
            if self._connection is not None:
                self._connection.end_at_eof()


class RequestMiddleware:
    """One pass around every request.

    - It has an id, the caller's if that is sane, else a new one: in the response and in every log line.
    - Its response is neither stored by caches, unless its route allows it, nor interpreted as another type.
    - Beyond `limit` requests under way it gets 503. Health and metrics are always let through and not counted. When
      three quarters are under way, a subject that has an equal part of `limit`, or three quarters, gets 429.
    - It is counted and timed by the template of its route, never by its path, which callers choose.
    - It is one log line, with what was bound on the way: the subject, the event, why the request was refused.
    - A bug is logged and gets its response here, so that the response has the id and the connection stays open.

    A long-lived request holds no permit and is not timed. The application finds the `OpenRequest` on
    `request.state.open_request`.
    """

    def __init__(self, app: ASGIApp, limit: int, metrics: HttpMetrics) -> None:
        self._app = app
        self._limit = limit
        self._metrics = metrics
        self._unreserved = limit - limit // 4
        self._under_way = 0
        self._of_subjects: dict[str, int] = {}  # the requests under way of each subject that has some

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = OpenRequest(scope, send, self)
        scope.setdefault("state", {}).update(request_id=request.id, open_request=request)
        begin_request(request.id)
        caller.set("")
        app = self._enter(request) or problem_response(Request(scope), TooManyUnderWay())
        bug: Exception | None = None
        try:
            await app(scope, receive, request.send)
        except Exception as error:
            if isinstance(error, RuntimeError) and request.client_has_left:  # from the connection, to which it wrote
                request.status = request.status or CLIENT_LEFT
                bind_request_fields(reason=describe(error))
                return
            bug = None if isinstance(error, ResponseCutOff) else error
            if request.status:
                error.add_note(LOGGED)
                raise  # the response has begun, so only the server can end it: by closing the connection
            await bug_response(Request(scope))(scope, receive, request.send)
        finally:
            self._end(request, scope, bug)

    def _enter(self, request: OpenRequest) -> ASGIApp | None:
        """The application if the request may go on to it."""
        is_refused = request.permits and self._under_way >= self._limit
        if is_refused:
            request.permits = 0
            self._metrics.rejected("concurrency")
        self._under_way += request.permits
        self._metrics.in_progress.inc()
        return None if is_refused else self._app

    def count(self, request: OpenRequest, subject: str) -> None:
        """Count `request` as one of `subject`; see `OpenRequest.belong_to`."""
        others = self._of_subjects.get(subject, 0)
        if others and self._under_way > self._unreserved:
            share = min(self._unreserved, self._limit // len(self._of_subjects))
            if others >= share:
                self._metrics.rejected("concurrency")
                raise ConcurrencyLimited("requests under way")
        self._of_subjects[subject] = others + 1
        request.subject = subject

    def leave(self, request: OpenRequest) -> None:
        self._under_way -= request.permits
        self._metrics.in_progress.dec()
        if request.subject is not None:
            self._of_subjects[request.subject] -= 1
            if not self._of_subjects[request.subject]:
                del self._of_subjects[request.subject]

    def _end(self, request: OpenRequest, scope: Scope, bug: Exception | None) -> None:
        seconds = time.perf_counter() - request.started
        if not request.is_long_lived:
            self.leave(request)
        template = getattr(scope.get("route"), "path_format", None)
        duration_seconds = None if request.is_long_lived else seconds
        self._metrics.ended(scope["method"], template, request.status, duration_seconds)
        level = _level(scope["path"], request.status, bug)
        log_request(level, scope["method"], scope["path"], status=request.status, seconds=seconds, bug=bug)


def _level(path: str, status: int, bug: Exception | None) -> int:
    """The log level for the end of a request. `status` 0: it got no response."""
    if bug or status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.ERROR
    if not status or status > HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.WARNING
    return logging.DEBUG if path in PROBE_PATHS else logging.INFO


def sane_request_id(given: str | None) -> str:
    """The caller's id when it is short and plain, else a new one."""
    return given if given and SANE_ID.fullmatch(given) else str(uuid7())


class ClientDisconnected(HTTPException):
    """499, as nginx has it: for the log and the metrics, since there is no client to respond to."""

    def __init__(self) -> None:
        super().__init__(CLIENT_LEFT, "The client disconnected before it had a response.", {"Connection": "close"})


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client of `request` disconnects. The rest of a body is lost.

    Raises:
        ClientDisconnected: 499.
    """
    working, disconnecting = asyncio.create_task(work), asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait((working, disconnecting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnected
    finally:
        working.cancel()
        disconnecting.cancel()
        await asyncio.gather(working, disconnecting, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
