"""The service's own spans, and their export over OTLP/HTTP if OpenTelemetry's OTEL_* variables ask for it.

Spans cost next to nothing while nothing is traced.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanContext, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_SECONDS = 3
MAX_LINKS = 32
UNTRACED_PATHS = ("/health", "/metrics", "/docs", "/redoc", "/openapi.json")

log = structlog.get_logger(__name__)
_tracer = trace.get_tracer("app")


@asynccontextmanager
async def exporting_spans(version: str) -> AsyncIterator[None]:
    """Export the spans of the block, and the remaining spans for 3 more seconds at its end.

    `version` is that of the service. Neither an absent collector nor invalid variables stop anything else.
    """
    provider = _start(version) if _is_wanted(os.environ) else None
    try:
        yield
    finally:
        if provider is not None:
            await _shut_down(provider)


def may_be_traced(environment: Mapping[str, str]) -> bool:
    """Whether a variable asks for tracing; otherwise FastAPI need not look for a provider at each request."""
    begun = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    return begun or any(name.startswith("OTEL_") for name in environment)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    def first(*names: str) -> str:
        return next((value for name in names if (value := environment.get(name, "").strip().lower())), "")

    if not first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        return False
    exporter = first("OTEL_TRACES_EXPORTER") or "otlp"
    if first("OTEL_SDK_DISABLED") == "true" or exporter == "none":
        return False
    protocol = first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if (exporter, protocol) != ("otlp", "http/protobuf"):
        log.warning("tracing is off: only OTLP over http/protobuf is supported", exporter=exporter, protocol=protocol)
        return False
    # The process may have been started with tracing set up, as `opentelemetry-instrument` does.
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _start(version: str) -> "TracerProvider | None":
    # The SDK takes memory and time that only a process that exports should pay.
    from app.tracing.provider import create_provider  # noqa: PLC0415

    try:
        provider = create_provider(version)
    except Exception as error:  # noqa: BLE001 - the variables can be wrong in many ways, and some hold secrets
        log.warning("tracing is off: invalid OTEL_* variable", error=type(error).__name__)
        return None
    trace.set_tracer_provider(provider)
    if not os.environ.get("OTEL_PROPAGATORS"):
        # Without baggage: nothing here reads it, and callers control it.
        propagate.set_global_textmap(TraceContextTextMapPropagator())
    return provider


async def _shut_down(provider: "TracerProvider") -> None:
    # A daemon thread: a collector that hangs would delay the end of the process for many seconds.
    thread = threading.Thread(target=provider.shutdown, name="tracing-shutdown", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, FLUSH_SECONDS)
    if thread.is_alive():
        log.warning("spans were lost: the collector did not accept them in time", seconds=FLUSH_SECONDS)


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
