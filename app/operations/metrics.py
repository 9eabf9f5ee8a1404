"""Renders the metrics of this process, or of all its sibling workers, and serves them on a separate port."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import prometheus_client.values
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.config import Settings
from app.errors import add_error_handlers
from app.http.connection import bind, unix_path
from app.http.middleware import RequestMiddleware
from app.http.protocol import BoundedHttpProtocol
from app.metrics import Metrics
from app.operations.health import HealthMonitor
from app.operations.repository import LedgerStatus

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
# More than every series together needs, by the kind of instrument.
FILE_BYTES = {
    "counter": 524_288,
    "histogram": 524_288,
    "gauge_livemax": 65_536,
    "gauge_livesum": 65_536,
    "gauge_max": 65_536,
}
_LIVE_GAUGE = re.compile(r"gauge_live[a-z]+_(?P<pid>\d+)\.db")
METRICS_EXAMPLE = """\
# HELP sync_events_unprocessed Events that wait for the sweep.
# TYPE sync_events_unprocessed gauge
sync_events_unprocessed 12.0
"""

metrics_router = APIRouter(tags=["operations"])
log = structlog.get_logger(__name__)


def reserve_files() -> None:
    """Reserve the disk space of this worker's files before the first instrument is made.

    prometheus-client maps them into memory with holes, and a write to a hole ends the process (SIGBUS) when the disk is
    full. Where there is no space, this process counts for itself alone.
    """
    directory = os.environ.get(MULTIPROCESS_DIRECTORY)
    if not directory:
        return
    files = {Path(directory) / f"{kind}_{os.getpid()}.db": size_bytes for kind, size_bytes in FILE_BYTES.items()}
    try:
        for path, size_bytes in files.items():
            path.write_bytes(bytes(size_bytes))
    except OSError as error:
        for path in files:
            path.unlink(missing_ok=True)
        log.warning("no space for the files of the metrics: this worker counts for itself", reason=error.strerror)
        count_alone()


def count_alone() -> None:
    """Keep the values of the instruments to come in the memory of this process."""
    os.environ.pop(MULTIPROCESS_DIRECTORY, None)
    prometheus_client.values.ValueClass = prometheus_client.values.MutexValue


async def render(metrics: Metrics, monitor: HealthMonitor) -> bytes:
    """Every metric in Prometheus' text format 0.0.4, except the ledger's when the database does not respond in time."""
    status = await monitor.ledger_status()
    refused = monitor.writes_refused_reason is not None
    return generate_latest(_process_metrics(metrics)) + generate_latest(_StatusCollector(status, refused))


class _StatusCollector(Collector):
    """Gauges of the database, which are the same on every replica: they are to be read with `max()`."""

    def __init__(self, status: LedgerStatus | None, writes_refused: bool) -> None:
        self._status = status
        self._writes_refused = writes_refused

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("sync_database_up", "1 when the database responds, else 0.", self._status is not None)
        yield GaugeMetricFamily(
            "sync_writes_refused",
            "1 while events cannot be recorded for a reason that `/health` names, else 0; the database being away is "
            "not one.",
            self._writes_refused,
        )
        if self._status is not None:
            yield from _ledger_gauges(self._status)


def _ledger_gauges(status: LedgerStatus) -> list[GaugeMetricFamily]:
    findings = GaugeMetricFamily(
        "sync_consistency_findings_open",
        "Open findings, up to 100,000, by kind and by the id of the source.",
        labels=("kind", "source"),
    )
    for kind, source, count in status.open_findings:
        findings.add_metric((kind, source), count)
    return [
        GaugeMetricFamily("sync_ledger_position", "Position of the newest event.", status.position),
        GaugeMetricFamily("sync_events_unprocessed", "Events that wait for the sweep.", status.unprocessed),
        GaugeMetricFamily("sync_events_set_aside", "Events that wait for an operator.", status.set_aside),
        GaugeMetricFamily(
            "sync_events_oldest_unprocessed_age_seconds",
            "Age of the oldest event that waits for the sweep; 0 when there is none.",
            status.oldest_unprocessed_age_seconds,
        ),
        GaugeMetricFamily(
            "sync_ledger_ahead_seconds",
            "How far the newest event's time is ahead of the database's clock, which has been set back since; else 0.",
            status.ledger_ahead_seconds,
        ),
        GaugeMetricFamily(
            "sync_webhook_deliveries_pending",
            "Deliveries that active subscriptions wait for, up to 100,000.",
            status.pending_deliveries,
        ),
        GaugeMetricFamily(
            "sync_webhook_oldest_pending_age_seconds",
            "Age of the oldest delivery that an active subscription waits for, since it last became pending; 0 when "
            "there is none.",
            status.oldest_pending_delivery_age_seconds,
        ),
        GaugeMetricFamily(
            "sync_webhook_failing_age_seconds",
            "Longest time for which an active subscription has only failed; 0 when none does.",
            status.longest_failing_seconds,
        ),
        GaugeMetricFamily(
            "sync_webhook_subscriptions_disabled",
            "Subscriptions that the service has disabled.",
            status.disabled_subscriptions,
        ),
        findings,
        GaugeMetricFamily(
            "sync_consistency_oldest_finding_age_seconds",
            "Age of the oldest open finding; 0 when there is none.",
            status.oldest_open_finding_age_seconds,
        ),
        GaugeMetricFamily(
            "sync_consistency_checks_due",
            "File checks that are due at enabled sources, up to 100,000.",
            status.due_file_checks,
        ),
    ]


def _process_metrics(metrics: Metrics) -> Collector:
    """The metrics of this process, or of all workers when there are several."""
    directory = os.environ.get(MULTIPROCESS_DIRECTORY)
    if not directory:
        return metrics.registry
    try:
        files = [*Path(directory).iterdir()]
    except FileNotFoundError:  # removed by what cleans up the folder of temporary files
        return metrics.registry
    for file in files:
        live = _LIVE_GAUGE.fullmatch(file.name)
        if live and not _is_running(int(live["pid"])):
            with suppress(FileNotFoundError):  # another worker was first
                mark_process_dead(int(live["pid"]), directory)  # type: ignore[no-untyped-call]  # not typed there
    registry = CollectorRegistry()
    MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]  # not typed there
    return registry


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another process's by now
        return True
    return True


@metrics_router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Metrics in Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": METRICS_EXAMPLE}},
        }
    },
)
@metrics_router.head("/metrics", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """Metrics for Prometheus, in its text format; it responds within a second, also while the database does not."""
    return Response(await render(request.state.metrics, request.state.monitor), media_type=CONTENT_TYPE)


class _InnerServer(uvicorn.Server):
    """A server inside the process of another one, which handles the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


@asynccontextmanager
async def metrics_server(settings: Settings, metrics: Metrics, monitor: HealthMonitor) -> AsyncIterator[None]:
    """Serve on `METRICS_PORT` while the block runs; with 0 there is nothing to serve.

    Raises:
        StartupRefused: the port cannot be bound.
    """
    if not settings.metrics_port:
        yield
        return
    # Every worker listens; each responds for all of them.
    shared = settings.web_concurrency > 1
    host = settings.server_host if unix_path(settings.server_host) is None else "127.0.0.1"
    listeners = bind(host, settings.metrics_port, setting="METRICS_PORT", shared=shared)
    config = uvicorn.Config(
        _create_app(settings, metrics, monitor),
        lifespan="on",
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _InnerServer(config)
    serving = asyncio.create_task(server.serve(sockets=listeners), name="metrics-server")
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _create_app(settings: Settings, metrics: Metrics, monitor: HealthMonitor) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        yield {"settings": settings, "metrics": metrics, "monitor": monitor}

    telemetry = TelemetryConfig(tracing=False, auto_configure=False)
    app = FastAPI(openapi_url=None, lifespan=lifespan, redirect_slashes=False, telemetry=telemetry)
    add_error_handlers(app)
    app.add_middleware(RequestMiddleware, limit=settings.max_concurrent_requests, metrics=metrics.http)
    app.include_router(metrics_router)
    return app
