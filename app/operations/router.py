"""Who we are and how we are."""

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel, Field

from app.config import Settings
from app.operations import openapi
from app.operations.exporter import CONTENT_TYPE, MetricsExporter
from app.operations.health import Health, HealthMonitor, Liveness, Readiness

router = APIRouter(tags=["operations"])
metrics_router = APIRouter(tags=["operations"])


class ApiInformation(BaseModel):
    """The answer of `GET /`."""

    title: str
    version: str
    description: str
    status: str = Field(description="`running`: the process answers. `/health` tells more.")
    links: dict[str, str]


@router.get("/", operation_id="getInformation", summary="About this API", responses=openapi.INFORMATION)
@router.head("/", include_in_schema=False)
async def get_information(request: Request) -> ApiInformation:
    """Title, version and description of this API, and where to go on."""
    settings: Settings = request.state.settings
    return ApiInformation(
        title=settings.api_title,
        version=settings.api_version,
        description=settings.api_description,
        status="running",
        links={
            "documentation": "/docs",
            "reference": "/redoc",
            "openapi": "/openapi.json",
            "health": "/health",
            "events": "/sync-events",
        },
    )


@router.get("/health", operation_id="getHealth", summary="Health", responses=openapi.HEALTH)
@router.head("/health", include_in_schema=False)
async def get_health(request: Request, response: Response) -> Health:
    """Whether the service can do its job now, and how much work waits for it.

    Answers within a second, also while the database hangs; then with 503.
    """
    health = await _monitor(request).health()
    _set_status(response, good=health.status != "unhealthy")
    return health


@router.get("/health/live", operation_id="getLiveness", summary="Liveness", responses=openapi.LIVENESS)
@router.head("/health/live", include_in_schema=False)
async def get_liveness() -> Liveness:
    """Whether the process answers at all. Looks at nothing outside the process: restarting it would not mend that."""
    return Liveness()


@router.get("/health/ready", operation_id="getReadiness", summary="Readiness", responses=openapi.READINESS)
@router.head("/health/ready", include_in_schema=False)
async def get_readiness(request: Request, response: Response) -> Readiness:
    """Whether the process should be sent requests: it has a database, its migrations, and a key to verify tokens.

    Answers within a second. Once the process was told to end it answers 503, before it stops listening.
    """
    readiness = await _monitor(request).readiness()
    _set_status(response, good=readiness.status == "ready")
    return readiness


@metrics_router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics",
    response_class=Response,
    responses=openapi.METRICS,
)
@metrics_router.head("/metrics", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """Metrics for Prometheus, in its text format; answers within a second, also while the database does not."""
    exporter: MetricsExporter = request.state.exporter
    return Response(await exporter.render(), media_type=CONTENT_TYPE)


def _monitor(request: Request) -> HealthMonitor:
    monitor: HealthMonitor = request.state.monitor
    return monitor


def _set_status(response: Response, *, good: bool) -> None:
    if not good:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = "1"
