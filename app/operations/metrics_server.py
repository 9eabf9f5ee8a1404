"""Serves /metrics on a separate port, which users of the API need not reach."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from app.config import Settings
from app.errors import add_error_handlers
from app.http.listener import bind
from app.http.middleware import RequestMiddleware
from app.http.protocol import BoundedHttpProtocol
from app.metrics import Metrics
from app.operations.exporter import MetricsExporter
from app.operations.router import metrics_router


class _InnerServer(uvicorn.Server):
    """A server inside the process of another one, which handles the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


@asynccontextmanager
async def metrics_server(settings: Settings, metrics: Metrics, exporter: MetricsExporter) -> AsyncIterator[None]:
    """Serve on `METRICS_PORT` while the block runs; with 0 there is nothing to serve.

    Raises:
        PortTaken: the port cannot be bound.
    """
    if not settings.metrics_port:
        yield
        return
    # Every worker listens; each responds for all of them.
    shared = settings.web_concurrency > 1
    listener = bind(settings.server_host, settings.metrics_port, setting="METRICS_PORT", shared=shared)
    config = uvicorn.Config(
        _create_app(settings, metrics, exporter),
        lifespan="on",
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _InnerServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="metrics-server")
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _create_app(settings: Settings, metrics: Metrics, exporter: MetricsExporter) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        yield {"settings": settings, "metrics": metrics, "exporter": exporter}

    telemetry = TelemetryConfig(tracing=False, auto_configure=False)
    app = FastAPI(openapi_url=None, lifespan=lifespan, redirect_slashes=False, telemetry=telemetry)
    add_error_handlers(app)
    app.add_middleware(RequestMiddleware, limit=settings.max_concurrent_requests, metrics=metrics.http)
    app.include_router(metrics_router)
    return app
