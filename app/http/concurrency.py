"""Pure ASGI middleware that bounds how many requests are under way at once."""

from collections.abc import Callable

from fastapi import Request

from app.errors import Unavailable, problem_response
from app.http.middleware import PROBE_PATHS, App, Receive, Scope, Send
from app.http.stay import Stay


class TooManyUnderWay(Unavailable):
    """503; nothing was done."""

    code, detail = "too-many-requests-under-way", "Too many requests are under way; try again."


class ConcurrencyLimit:
    """Answers 503 to what is more than `limit` requests under way; `on_reject` is called for each.

    Health and metrics are always let through and not counted; nor is a request that stays, from when it does.
    """

    def __init__(self, app: App, limit: int, on_reject: Callable[[], None]) -> None:
        self._app = app
        self._limit = limit
        self._on_reject = on_reject
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in PROBE_PATHS:
            await self._app(scope, receive, send)
        elif self._under_way >= self._limit:
            self._on_reject()
            await _rejection(scope)(scope, receive, send)
        else:
            self._under_way += 1
            stay = Stay.of(scope)
            stay.on_begin(self._leave)
            try:
                await self._app(scope, receive, send)
            finally:
                if not stay.begun:
                    self._leave()

    def _leave(self) -> None:
        self._under_way -= 1


def _rejection(scope: Scope) -> App:
    error = TooManyUnderWay()
    return problem_response(Request(scope), error.status, str(error), code=error.code, headers=error.headers)
