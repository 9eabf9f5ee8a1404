"""The fields that the log lines of a request share, and its own line, written without structlog's chain.

That line is written for every request: the chain took a quarter of the rate.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace
from pydantic_core import PydanticSerializationError, to_json

from app.log.stderr import StderrHandler
from app.log.text import TextRenderer

if TYPE_CHECKING:
    from structlog.typing import EventDict

NAME = "app.access"
EVENT = "request"

_log = structlog.get_logger(NAME)
_access, _root = logging.getLogger(NAME), logging.getLogger()
_request_fields: ContextVar[dict[str, Any] | None] = ContextVar("request_fields", default=None)


class RequestLines:
    """Renders the lines of requests as JSON, or with `text` for people, in the shape of every other line."""

    def __init__(self, text: TextRenderer | None) -> None:
        self._text = text
        self._second, self._second_text = 0, ""

    def render(self, level: int, seconds: float, fields: dict[str, Any]) -> str:
        """The line, without its end, of `seconds` since the epoch.

        `fields` are texts, numbers or None, in the order of the line.
        """
        name = logging.getLevelName(level).lower()
        if self._text is not None:
            return self._text.render_request(
                self._timestamp(seconds, " ", digits=3), name, fields, event=EVENT, logger=NAME
            )
        timestamp = self._timestamp(seconds, "T", digits=6)
        whole = {**fields, "event": EVENT, "level": name, "logger": NAME, "timestamp": timestamp}
        try:
            return to_json(whole, ensure_ascii=True).decode()
        except PydanticSerializationError:
            return json.dumps(whole, default=repr)  # which escapes lone surrogates too

    def _timestamp(self, seconds: float, separator: str, *, digits: int) -> str:
        """RFC 3339 in UTC; there are many lines in a second, whose time but for its fraction is the same."""
        second = int(seconds)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat(separator)
        return f"{self._second_text}.{int((seconds - second) * 10**digits):0{digits}}Z"


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
    return {**fields, **(_request_fields.get() or {}), **fields}  # its own first, and none is replaced


def log_request(level: int, method: str, path: str, *, status: int, seconds: float, bug: Exception | None) -> None:
    """Log the end of a request, with the fields bound to it. `status` 0: it got no response.

    Where the root logger has another handler than ours, it is a record of the standard library, like every other line.
    """
    if not _access.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "method": method,
        "path": path,
        "status": status or None,
        "duration_ms": round(seconds * 1000, 2),
    }
    handlers = _root.handlers
    if bug is not None or len(handlers) != 1 or not isinstance(handlers[0], StderrHandler):
        _log.log(level, EVENT, **fields, exc_info=bug)
        return
    bound = _request_fields.get() or {}
    fields = {**fields, **bound, **fields}
    for name in ("request_id", "subject"):  # the caller comes last, as in every line
        if name in bound:
            fields[name] = fields.pop(name)
    add_trace(None, "", fields)
    handlers[0].write_request(level, fields)


def add_trace(_logger: object, _method: str, fields: "EventDict") -> "EventDict":
    """Add the ids of the span that the line belongs to, if there is one; a processor of structlog."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        fields["trace_id"] = trace.format_trace_id(context.trace_id)
        fields["span_id"] = trace.format_span_id(context.span_id)
    return fields
