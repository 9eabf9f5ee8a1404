"""`/openapi.json`, and `/docs` and `/redoc` that show it, with every script and style served from here."""

import asyncio
import base64
import hashlib
import html
import importlib.metadata
import importlib.resources
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from app.config import Settings
from app.config.types import PREFIX
from app.http.page_headers import page_headers

PACKAGE = "fastapi-offline"
REDOC_SCRIPT = "redoc.standalone.js"
# The one thing that Redoc loads from elsewhere. It shows nothing instead when the image does not load.
REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
NO_IMAGE = b"data:,"

# Relative references: they hold under any prefix that a proxy puts before /docs and /redoc.
DOCUMENT_URL = "openapi.json"
ASSETS_URL = f"docs/assets/{importlib.metadata.version(PACKAGE)}"

SWAGGER_PARAMETERS = {
    "persistAuthorization": False,
    "displayRequestDuration": True,
    "tryItOutEnabled": True,
    "deepLinking": True,
    "filter": True,
    "docExpansion": "list",
    "defaultModelsExpandDepth": 0,
    "defaultModelExpandDepth": 3,
    "showExtensions": False,
    "validatorUrl": None,
}
SCRIPT = "swagger.js"  # ours, beside the one of Swagger UI
BUNDLE_LOADED = "<!-- `SwaggerUIBundle` is now available on the page -->"
CACHE_FOR_GOOD = "public, max-age=31536000, immutable"  # the path holds the version of the package

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

router = APIRouter(include_in_schema=False)
_directory = Path(str(importlib.resources.files("fastapi_offline") / "static"))
_files = StaticFiles(directory=_directory)


async def get_document(request: Request) -> Response:
    """The OpenAPI document; behind a proxy that strips a prefix, the operations are under that."""
    document = request.app.openapi()
    prefix = _prefix(request)
    if prefix:
        document = {**document, "servers": [{**document["servers"][0], "url": prefix}]}
    return JSONResponse(document)


def _prefix(request: Request) -> str:
    """The prefix that a trusted proxy reports to strip, else `ROOT_PATH`."""
    settings: Settings = request.state.settings
    connection = request.scope["state"].get("connection")
    peer = connection.client if connection else None  # `request.client` is the client of the proxy
    said = request.headers.get("x-forwarded-prefix", "").rstrip("/")
    if said and PREFIX.fullmatch(said) and _is_proxy(peer[0] if peer else None, settings.forwarded_allow_ips):
        return said
    return settings.root_path or str(request.scope.get("root_path", "")).rstrip("/")


def _is_proxy(address: str | None, networks: tuple[str, ...]) -> bool:
    """Whether a peer's headers are believed; None is a Unix socket's."""
    if address is None or "*" in networks:
        return "*" in networks
    return any(ip_address(address) in ip_network(network) for network in networks)


async def get_swagger_page(request: Request) -> Response:
    page = get_swagger_ui_html(
        openapi_url=DOCUMENT_URL,
        title=html.escape(request.app.title),
        swagger_js_url=f"{ASSETS_URL}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_URL}/swagger-ui.css",
        swagger_favicon_url="favicon.svg",
        swagger_ui_parameters=SWAGGER_PARAMETERS,
    )
    text = bytes(page.body).decode()
    text = text.replace(BUNDLE_LOADED, f'<script src="{SCRIPT}"></script>\n    {BUNDLE_LOADED}')
    return _secured(text.replace("presets: [", "plugins: [StreamHint],\n    presets: ["))


async def get_redoc_page(request: Request) -> Response:
    page = get_redoc_html(
        openapi_url=DOCUMENT_URL,
        title=html.escape(request.app.title),
        redoc_js_url=f"{ASSETS_URL}/{REDOC_SCRIPT}",
        redoc_favicon_url="favicon.svg",
        with_google_fonts=False,
    )
    return _secured(bytes(page.body).decode(), styles="'self' 'unsafe-inline'")  # Redoc writes its styles into the page


async def get_asset(request: Request) -> Response:
    response = await _files.get_response(request.path_params["name"], request.scope)
    response.headers.update({"Cache-Control": CACHE_FOR_GOOD})
    return response


async def get_redoc_script(_request: Request) -> Response:
    """Redoc without the image that it loads from its makers."""
    script = await asyncio.to_thread((_directory / REDOC_SCRIPT).read_bytes)
    return Response(
        script.replace(REDOC_LOGO, NO_IMAGE),
        media_type="text/javascript",
        headers={"Cache-Control": CACHE_FOR_GOOD},
    )


def _secured(page: str, *, styles: str = "'self'") -> HTMLResponse:
    """`page`, whose own scripts are allowed by their hashes."""
    directives = {
        "script-src": " ".join(["'self'", *(_hash_source(script) for script in _INLINE_SCRIPT.findall(page))]),
        "style-src": styles,
        "connect-src": "'self'",
        "worker-src": "blob:",  # Redoc searches in one
    }
    return HTMLResponse(page, headers=page_headers(directives))


def _hash_source(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


for _path, _endpoint in (
    (f"/{DOCUMENT_URL}", get_document),
    ("/docs", get_swagger_page),
    ("/redoc", get_redoc_page),
    (f"/{ASSETS_URL}/{REDOC_SCRIPT}", get_redoc_script),
    (f"/{ASSETS_URL}/{{name}}", get_asset),
):
    router.add_api_route(_path, _endpoint, methods=["GET", "HEAD"])
