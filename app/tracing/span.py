"""The service's own spans. They cost next to nothing while nothing is traced."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, StatusCode
from opentelemetry.util.types import AttributeValue

MAX_LINKS = 32
UNTRACED_PATHS = ("/health", "/metrics", "/docs", "/redoc", "/openapi.json")

_tracer = trace.get_tracer("app")


def is_untraced(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request is not traced: a probe or a scrape, which come every few seconds, or a documentation page."""
    path: str = scope["path"]
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in UNTRACED_PATHS)


def recorded_context() -> SpanContext | None:
    """The current span, for a link to it; None when it is not recorded."""
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


@contextmanager
def traced(
    name: str, attributes: Mapping[str, AttributeValue] | None = None, origins: Iterable[SpanContext | None] = ()
) -> Iterator[Span]:
    """A span around the block, linked to the first 32 of `origins`. It keeps only the type of an exception."""
    links = [Link(origin) for origin in islice(filter(None, origins), MAX_LINKS)]
    with _tracer.start_as_current_span(
        name, attributes=attributes, links=links, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise
