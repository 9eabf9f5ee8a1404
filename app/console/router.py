"""`/console`: the operator console, a static page with the settings that it needs, and its scripts and styles."""

import asyncio
import html
import json
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.config import Settings
from app.http.page_headers import NO_MARKUP_FROM_TEXT, page_headers

DIRECTORY = Path(__file__).parent / "static"
PAGE = DIRECTORY / "console.html"
ALERTS = Path(__file__).parents[2] / "docs" / "alerts.md"  # the problems on the overview link to its sections
CONFIGURATION = "$configuration"  # in the page
CACHE = "no-cache"  # asked for again after an upgrade, by the ETag


def create_router(settings: Settings) -> APIRouter:
    """The routes of the console. Every reference is relative to the page, so a proxy may put any prefix before it."""
    router = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=DIRECTORY)
    page = PAGE.read_text().replace(CONFIGURATION, html.escape(json.dumps(_configuration(settings))))
    headers = {**page_headers(_directives(settings)), "Cross-Origin-Opener-Policy": "same-origin"}

    async def get_page() -> Response:
        return HTMLResponse(page, headers=headers)

    async def redirect_to_page() -> Response:
        return Response(status_code=307, headers={"Location": "../console"})

    async def get_asset(request: Request) -> Response:
        response = await files.get_response(request.path_params["path"], request.scope)
        response.headers.update({"Cache-Control": CACHE})
        return response

    async def get_alerts() -> Response:
        return Response(
            await asyncio.to_thread(ALERTS.read_bytes), media_type="text/markdown", headers={"Cache-Control": CACHE}
        )

    for path, endpoint in (
        ("/console", get_page),
        ("/console/", redirect_to_page),
        ("/console/alerts.md", get_alerts),
        ("/console/assets/{path:path}", get_asset),
    ):
        router.add_api_route(path, endpoint, methods=["GET", "HEAD"])
    return router


def _configuration(settings: Settings) -> dict[str, str | bool]:
    return {
        "title": settings.api_title,
        "auth0_domain": settings.auth0_domain,
        "auth0_client_id": settings.auth0_console_client_id,
        "audience": settings.api_audience,
        "enforce_scopes": settings.auth_enforce_scopes,
    }


def _directives(settings: Settings) -> dict[str, str]:
    """Scripts and requests are of this service, and for the login requests of the issuer."""
    issuer = f" https://{settings.auth0_domain}" if settings.auth0_domain else ""
    return {"script-src": "'self'", "connect-src": f"'self'{issuer}", **NO_MARKUP_FROM_TEXT}
