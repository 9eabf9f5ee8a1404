"""Builds OpenTelemetry's SDK: the resource of the service, what spans leave out, and what the SDK may log."""

import logging
import os

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app.log.sparing import SparingFilter

DEFAULT_NAME = "sync-service"
MAX_ATTRIBUTE_CHARACTERS = 1024

_QUERY = "url.query"
_EXPORT_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)
_HEADER_LOGGER = "opentelemetry.util.re"
# What they say is about one request, and repeats what its caller sent.
_CALLER_LOGGERS = (
    "opentelemetry.attributes",
    "opentelemetry.baggage.propagation",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)


def create_provider(version: str) -> TracerProvider:
    """A provider that exports to where the OTEL_* variables say, in a thread of its own."""
    for name in _EXPORT_LOGGERS:
        logging.getLogger(name).addFilter(SparingFilter())
    logging.getLogger(_HEADER_LOGGER).addFilter(SparingFilter(keep_text=False))
    for name in _CALLER_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter()
    limit = None if os.environ.get("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT") else MAX_ATTRIBUTE_CHARACTERS
    provider = TracerProvider(
        resource=describe_service(version),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_attribute_length=limit),
    )
    provider.add_span_processor(QueryRedaction())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def describe_service(version: str) -> Resource:
    """Name and version of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES set others."""
    found = Resource.create()
    attributes = {SERVICE_VERSION: version, **found.attributes}
    if str(attributes[SERVICE_NAME]).startswith("unknown_service"):
        attributes[SERVICE_NAME] = DEFAULT_NAME
    return Resource(attributes, found.schema_url)


class QueryRedaction(SpanProcessor):
    """Keeps query strings out of the traces, as they are kept out of the log: a caller may have put a token there."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the interface's
        """Replace the query, if the span has one."""
        if span.attributes and _QUERY in span.attributes:
            span.set_attribute(_QUERY, "REDACTED")
