"""`/`, as JSON and as a page, and an explanation of each problem: pages for people that need no script."""

import asyncio
import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, Field

from app.config import Settings
from app.errors import NotFound
from app.http.middleware import TooManyUnderWay
from app.http.negotiation import accepts
from app.http.openapi import documented
from app.http.page_headers import NO_MARKUP_FROM_TEXT, page_headers
from app.http.types import examples

STATIC = Path(__file__).parent / "static"
PROBLEMS = Path(__file__).parents[2] / "docs" / "problems.md"
FILES = {
    "favicon.ico": "image/x-icon",
    "favicon.svg": "image/svg+xml",
    "page.css": "text/css",
    "swagger.js": "text/javascript",
}
HEADERS = page_headers(NO_MARKUP_FROM_TEXT)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" type="image/svg+xml" href="{root}favicon.svg">
<link rel="stylesheet" href="{root}page.css">
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
_FRONT_LINKS = (
    ("console", "Console", "the problems of the service, and their remedies"),
    ("docs", "API documentation", "every route, to try out"),
    ("redoc", "API reference", "every route, to read"),
    ("problems", "Problems", "what each error means, and what to do"),
    ("health", "Health", "whether the service can do its job now"),
)

router = APIRouter(tags=["operations"])


class ApiInformation(BaseModel):
    """The response of `GET /`."""

    model_config = examples(
        {
            "title": "Synchronization Service API",
            "version": "1.0.0",
            "description": "Service for handling synchronization events",
            "status": "running",
            "links": {"documentation": "docs", "health": "health", "events": "sync-events"},
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
    page = front_page(settings) if accepts(request.headers.getlist("accept"), "text/html") else None
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


def front_page(settings: Settings) -> HTMLResponse:
    """The page of `GET /` for browsers, with links."""
    links = [one for one in _FRONT_LINKS if settings.console_enabled or one[0] != "console"]
    items = "\n".join(f'<div><dt><a href="{href}">{name}</a></dt><dd>{text}</dd></div>' for href, name, text in links)
    description, version = html.escape(settings.api_description), html.escape(settings.api_version)
    body = f"<p>{description}</p>\n<dl>\n{items}\n</dl>\n<footer>Version {version}</footer>"
    return _page(settings.api_title, body)


def read_problems(text: str) -> dict[str, list[str]]:
    """The paragraphs of each section of docs/problems.md, by the name of the problem."""
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    named = (section.split("\n", 1) for section in sections)
    return {name.strip(): body.strip().split("\n\n") for name, body in named}


async def get_problem(request: Request) -> Response:
    problems = await _problems()
    name: str = request.path_params["name"]
    if name not in problems:
        raise NotFound("There is no such problem.")
    footer = '<footer><a href="../problems">All problems</a></footer>'
    return _page(name, "\n".join([*(_paragraph(one) for one in problems[name]), footer]), root="../")


async def list_problems(_request: Request) -> Response:
    return _page("Problems", _list(await _problems()))


async def get_file(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    return FileResponse(STATIC / name, media_type=FILES[name], headers={"Cache-Control": "no-cache"})


async def _problems() -> Mapping[str, list[str]]:
    return read_problems(await asyncio.to_thread(PROBLEMS.read_text, "utf-8"))


def _list(names: Iterable[str]) -> str:
    items = "\n".join(f'<li><a href="problems/{name}">{name}</a></li>' for name in names)
    return f"<p>The last part of the <code>type</code> of an error response.</p>\n<ul>\n{items}\n</ul>"


def _paragraph(text: str) -> str:
    """A paragraph of Markdown, of which only bold words and code mean something."""
    escaped = html.escape(text, quote=False)
    bold = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)
    return "<p>" + re.sub(r"`(.+?)`", r"<code>\1</code>", bold) + "</p>"


def _page(title: str, body: str, *, root: str = "") -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=html.escape(title), body=body, root=root), headers=HEADERS)


for _path, _endpoint in (
    ("/problems", list_problems),
    ("/problems/{name}", get_problem),
    *((f"/{_name}", get_file) for _name in FILES),
):
    router.add_api_route(_path, _endpoint, methods=["GET", "HEAD"], include_in_schema=False)
