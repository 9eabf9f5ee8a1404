"""Pure ASGI middleware around every request: its id, its log line, and its last resort."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Request
from uuid_utils.compat import uuid7

from app.errors import bug_response
from app.log import LOGGED

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
# What probes and scrapes ask for: logged only when it fails, and let through whatever the load.
PROBE_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})

log = structlog.get_logger("app.access")
_standard_log = logging.getLogger("app.access")


class RequestContext:
    """Gives every request an id (the caller's if it is sane), in the answer and in every log line; logs one line.

    The line also has what was bound on the way: the subject, the event, why the request was refused. A bug is logged
    and answered here, where its answer still gets the id and the connection lives on.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = sane_request_id(_header(scope, b"x-request-id"))
        encoded_id = request_id.encode()
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", encoded_id)]
            await send(message)

        bug: Exception | None = None
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            bug = error
            if status:
                raise  # the answer has begun, so only the server can end it: by closing the connection
            await bug_response(Request(scope))(scope, receive, send_with_id)
        finally:
            _log_request(scope, status, time.perf_counter() - started, bug)
            if bug and status:
                bug.add_note(LOGGED)


def _header(scope: Scope, name: bytes) -> str | None:
    """The first header of this lower-case name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _log_request(scope: Scope, status: int, seconds: float, bug: Exception | None) -> None:
    level = _level(scope["path"], status, bug)
    if _standard_log.isEnabledFor(level):  # before anything is prepared for a line that is not written
        log.log(
            level,
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status or None,
            duration_ms=round(seconds * 1000, 2),
            **({"exc_info": bug} if bug else {}),
        )


def _level(path: str, status: int, bug: Exception | None) -> int:
    """How bad the end of a request is. `status` 0: it got no answer."""
    if bug or status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.ERROR
    if not status or status > HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.WARNING
    return logging.DEBUG if path in PROBE_PATHS else logging.INFO


def sane_request_id(given: str | None) -> str:
    """The caller's id when it is short and plain, else a new one."""
    return given if given and SANE_ID.fullmatch(given) else str(uuid7())
