"""Pure ASGI middleware that counts and times every request."""

import time

from app.http.middleware import App, Message, Receive, Scope, Send
from app.http.stay import Stay
from app.metrics import HttpMetrics


class RequestMetrics:
    """Measures requests by the template of the route that took them, never by their path, which callers choose.

    Those that stay are counted, but not timed: how long is their clients' choice.
    """

    def __init__(self, app: App, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        stay = Stay.of(scope)
        stay.on_begin(self._metrics.in_progress.dec)
        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            if not stay.begun:
                self._metrics.in_progress.dec()
            template = getattr(scope.get("route"), "path_format", None)
            duration_seconds = None if stay.begun else time.perf_counter() - started
            self._metrics.answered(scope["method"], template, status, duration_seconds)
