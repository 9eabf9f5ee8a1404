"""Service information and health."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field

from app.config import Settings
from app.http.dependencies import from_state
from app.http.middleware import TooManyUnderWay
from app.http.openapi import RETRY_AFTER_HEADER, Responses, documented
from app.operations.health import Health, HealthMonitor, Liveness, Readiness
from app.operations.pages import front_page, wants_html


def _unavailable(model: type[BaseModel], description: str) -> Responses:
    """The response 503 of a health route."""
    return {503: {"model": model, "description": description, "headers": RETRY_AFTER_HEADER}}


router = APIRouter(tags=["operations"])

Monitor = Annotated[HealthMonitor, from_state("monitor")]


class ApiInformation(BaseModel):
    """The response of `GET /`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "title": "Synchronization Service API",
                    "version": "1.0.0",
                    "description": "Service for handling synchronization events",
                    "status": "running",
                    "links": {"documentation": "docs", "health": "health", "events": "sync-events"},
                }
            ]
        }
    )

    title: str
    version: str
    description: str
    status: str = Field(description="`running`: the process responds. `/health` reports more.")
    links: dict[str, str] = Field(description="Relative to the URL of the request.")


@router.get(
    "/",
    operation_id="getInformation",
    summary="About this API",
    response_model=ApiInformation,
    responses=documented(200, "Service information.", TooManyUnderWay()),
)
@router.head("/", include_in_schema=False)
async def get_information(request: Request, response: Response) -> Any:
    """Title, version and description of this API, with links.

    A request whose `Accept` names `text/html` gets a page for people.
    """
    settings: Settings = request.state.settings
    page = front_page(settings) if wants_html(",".join(request.headers.getlist("accept"))) else None
    (page or response).headers["Vary"] = "Accept"
    return page or ApiInformation(
        title=settings.api_title,
        version=settings.api_version,
        description=settings.api_description,
        status="running",
        links={
            "documentation": "docs",
            "reference": "redoc",
            "openapi": "openapi.json",
            "health": "health",
            "events": "sync-events",
        },
    )


@router.get(
    "/health",
    operation_id="getHealth",
    summary="Health",
    responses=documented(200, "The database responds; `degraded` while it refuses events.")
    | _unavailable(Health, "The database does not respond."),
)
@router.head("/health", include_in_schema=False)
async def get_health(monitor: Monitor, response: Response) -> Health:
    """Whether the service can do its job now, and how much work waits for it.

    Responds within a second, also while the database hangs; then with 503.
    """
    health = await monitor.health()
    _set_status(response, good=health.status != "unhealthy")
    return health


@router.get(
    "/health/live", operation_id="getLiveness", summary="Liveness", responses=documented(200, "The process responds.")
)
@router.head("/health/live", include_in_schema=False)
async def get_liveness() -> Liveness:
    """Whether the process responds at all. It checks nothing outside the process: a restart would not fix that."""
    return Liveness()


@router.get(
    "/health/ready",
    operation_id="getReadiness",
    summary="Readiness",
    responses=documented(200, "Every check passed.") | _unavailable(Readiness, "One of the checks failed."),
)
@router.head("/health/ready", include_in_schema=False)
async def get_readiness(monitor: Monitor, response: Response) -> Readiness:
    """Whether the process should be sent requests: it has a database, its migrations, and a key to verify tokens.

    A database that refuses events leaves it ready, because reads work; so do failures of less than 10 seconds.

    Responds within a second. Once shutdown has begun it responds with 503, before it stops listening.
    """
    readiness = await monitor.readiness()
    _set_status(response, good=readiness.status == "ready")
    return readiness


def _set_status(response: Response, *, good: bool) -> None:
    if not good:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = "1"
