"""Who we are and how we are."""

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel, Field

from app.config import Settings
from app.operations.health import Health, check_health

router = APIRouter(tags=["operations"])


class ApiInformation(BaseModel):
    """The answer of `GET /`."""

    title: str
    version: str
    description: str
    status: str = Field(description="`running`: the process answers. `/health` tells more.")
    links: dict[str, str]


@router.get("/", operation_id="getInformation", summary="About this API")
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


@router.get(
    "/health",
    operation_id="getHealth",
    summary="Health",
    responses={503: {"model": Health, "description": "The database does not answer."}},
)
async def get_health(request: Request, response: Response) -> Health:
    """Whether the service can do its job now; answers within a second, 503 when it can not."""
    health = await check_health(request.state.database)
    if health.status == "unhealthy":
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = "1"
    return health
