"""The log line of a request, whose fields are complete when it is logged: structlog's chain takes ten times as long."""

import logging
from typing import Any

import structlog
from structlog.contextvars import get_contextvars

from app.log.trace import add_trace

_log = structlog.get_logger("app.access")
_access = logging.getLogger("app.access")
_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}


class RequestLine(dict[str, Any]):
    """All fields of the line but its time, as the message of a record; values are texts, numbers or None."""


def log_request(level: int, method: str, path: str, *, status: int, seconds: float, bug: Exception | None) -> None:
    """Log how a request ended, with what its context holds. `status` 0: it got no response."""
    if not _access.isEnabledFor(level):
        return
    fields = {"method": method, "path": path, "status": status or None, "duration_ms": round(seconds * 1000, 2)}
    if bug is not None:
        _log.log(level, "request", **fields, exc_info=bug)
        return
    line = RequestLine(fields, event="request", **get_contextvars(), level=_LEVELS[level], logger=_access.name)
    add_trace(None, "", line)
    _access.handle(logging.LogRecord(_access.name, level, "", 0, line, None, None))
