"""Assembles the application: `uvicorn app.main:app` serves it."""

import os
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.telemetry import TelemetryConfig

from app.changes.router import router as change_router
from app.config import Settings, load_settings
from app.consistency.repairs.router import router as repair_router
from app.consistency.router import router as consistency_router
from app.consistency.sources.router import router as source_router
from app.console.router import create_router as create_console_router
from app.deliveries.router import bulk_router as redelivery_router
from app.deliveries.router import router as delivery_router
from app.errors import add_error_handlers
from app.events.router import batch_router as event_batch_router
from app.events.router import router as event_router
from app.events.router import single_router as single_event_router
from app.events.set_aside_router import bulk_router as requeue_router
from app.events.set_aside_router import router as set_aside_router
from app.files.router import router as file_router
from app.http.middleware import RequestMiddleware
from app.lifespan import create_lifespan
from app.log import configure_logging
from app.log.stderr import count_dropped_lines
from app.metrics import Metrics
from app.operations.docs import router as docs_router
from app.operations.document import GUIDE, SERVERS, TAGS, complete
from app.operations.health import router as health_router
from app.operations.metrics import metrics_router, reserve_files
from app.operations.overview import router as overview_router
from app.operations.pages import router as page_router
from app.subscriptions.router import router as subscription_router
from app.tracing import is_untraced, may_be_traced

# Of browser clients: what they may send and read beyond what every page may.
CORS_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-ID",
)
CORS_EXPOSED = ("ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID")


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Nothing is opened before its lifespan begins."""
    metrics = Metrics()
    count_dropped_lines(metrics.log_lines_dropped.inc)
    app = FastAPI(
        title=settings.api_title,
        version=settings.api_version,
        description=f"{settings.api_description}\n{GUIDE}".strip(),
        lifespan=create_lifespan(settings, metrics),
        openapi_tags=TAGS,
        servers=SERVERS,
        openapi_url=None,  # these three are served by the router of the documentation
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,  # a redirect would name the host that the client claims
        telemetry=TelemetryConfig(
            tracing=may_be_traced(os.environ),
            metrics=False,
            logs=False,
            operation_spans=False,
            auto_configure=False,
            exclude=is_untraced,
        ),
    )
    add_error_handlers(app)
    if settings.cors_allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_allow_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED,
        )
    app.add_middleware(RequestMiddleware, limit=settings.max_concurrent_requests, metrics=metrics.http)
    # They are the application's own routes: an included router is another look-up for each request. They are tried in
    # this order, so the busiest come first.
    for router in (
        single_event_router,
        event_router,
        event_batch_router,
        set_aside_router,
        requeue_router,
        change_router,
        file_router,
        subscription_router,
        delivery_router,
        redelivery_router,
        consistency_router,
        source_router,
        repair_router,
        overview_router,
        page_router,
        health_router,
        *(() if settings.metrics_port else (metrics_router,)),
        docs_router,
        *((create_console_router(settings),) if settings.console_enabled else ()),
    ):
        app.router.routes.extend(router.routes)
    _complete_document(app)
    return app


def _complete_document(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        return complete(generate())

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way of extending OpenAPI


def _load_app() -> FastAPI:
    """The application with the settings of this process, which logs in our shape from here on."""
    settings = load_settings()
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    reserve_files()
    return create_app(settings)


app = _load_app()
