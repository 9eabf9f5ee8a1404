"""The fields that the log lines of a request share, and its own line, rendered without structlog's chain.

That line is written for every request: the chain took a quarter of the rate.
"""

import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace

if TYPE_CHECKING:
    from structlog.typing import EventDict

NAME = "app.access"

_log = structlog.get_logger(NAME)
_access = logging.getLogger(NAME)
_TEMPLATE = logging.LogRecord(NAME, logging.INFO, "", 0, "", None, None).__dict__
_request_fields: ContextVar[dict[str, Any] | None] = ContextVar("request_fields", default=None)


class RequestRecord(logging.LogRecord):
    """A record whose message is the line's own fields: texts, numbers or None, in the order of the line."""

    def __init__(self, level: int, fields: dict[str, Any]) -> None:
        # Without super(): it asks for the process, the thread and the place in the source, which takes longer than all
        # the rest of the line.
        self.__dict__.update(_TEMPLATE)
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.created = time.time()
        self.msg = fields


def begin_request(request_id: str) -> None:
    """From here on the log lines of this context are those of a request, and have its id."""
    _request_fields.set({"request_id": request_id})


def bind_request_fields(**fields: Any) -> None:
    """Add `fields` to the log lines of the request that follow; does nothing outside of one."""
    bound = _request_fields.get()
    if bound is not None:
        bound.update(fields)


def add_request_fields(_logger: object, _method: str, fields: "EventDict") -> "EventDict":
    """Add the fields bound to the request, if there is one; a processor of structlog."""
    return {**(_request_fields.get() or {}), **fields}


def log_request(level: int, method: str, path: str, *, status: int, seconds: float, bug: Exception | None) -> None:
    """Log the end of a request, with the fields bound to it. `status` 0: it got no response."""
    if not _access.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "method": method,
        "path": path,
        "status": status or None,
        "duration_ms": round(seconds * 1000, 2),
    }
    if bug is not None:
        _log.log(level, "request", **fields, exc_info=bug)
        return
    bound = _request_fields.get() or {}
    fields |= bound
    for name in ("request_id", "subject"):  # the caller comes last, as in every line
        if name in bound:
            fields[name] = fields.pop(name)
    add_trace(None, "", fields)
    _access.handle(RequestRecord(level, fields))


def add_trace(_logger: object, _method: str, fields: "EventDict") -> "EventDict":
    """Add the ids of the span that the line belongs to, if there is one; a processor of structlog."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        fields["trace_id"] = trace.format_trace_id(context.trace_id)
        fields["span_id"] = trace.format_span_id(context.span_id)
    return fields
