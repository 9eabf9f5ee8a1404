"""Ties log lines to traces."""

from typing import TYPE_CHECKING

from opentelemetry import trace

if TYPE_CHECKING:
    from structlog.typing import EventDict


def add_trace(_logger: object, _method: str, fields: "EventDict") -> "EventDict":
    """Add the ids of the span that the line belongs to, if there is one; a processor of structlog."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        fields["trace_id"] = trace.format_trace_id(context.trace_id)
        fields["span_id"] = trace.format_span_id(context.span_id)
    return fields
