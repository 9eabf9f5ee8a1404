"""`/docs` and `/redoc`: served whole from here, with the headers that keep everything else out."""

import re
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from app.main import create_app
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite

PAGES = ("/docs", "/redoc")
pytestmark = on_sqlite


def references(page: str) -> list[str]:
    """Everything that the page loads when it is opened."""
    return re.findall(r"""(?:src=|href=|spec-url=|\burl: )["']([^"']*)["']""", page)


async def test_a_page_loads_only_what_is_served_here(anonymous: httpx.AsyncClient) -> None:
    for url in PAGES:
        page = await anonymous.get(url)
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        loaded = references(page.text)
        assert "openapi.json" in loaded
        assert len(loaded) >= 3
        for reference in loaded:
            assert "//" not in reference
            assert (await anonymous.get(f"/{reference}")).status_code == 200, reference


@pytest.mark.parametrize("url", PAGES)
async def test_head_answers_as_get_does(url: str, anonymous: httpx.AsyncClient) -> None:
    head, get = await anonymous.head(url), await anonymous.get(url)
    assert head.status_code == 200
    for name in ("Content-Type", "Content-Security-Policy"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("url", PAGES)
async def test_a_page_lets_nothing_in_from_elsewhere(url: str, anonymous: httpx.AsyncClient) -> None:
    headers = (await anonymous.get(url)).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert not re.search(r"https?:|\*", headers["Content-Security-Policy"])
    assert "unsafe" not in policy["script-src"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"


async def test_assets_are_cached_for_good_under_the_version_of_their_package(anonymous: httpx.AsyncClient) -> None:
    for url in PAGES:
        for reference in references((await anonymous.get(url)).text):
            if reference not in ("openapi.json", "favicon.svg", "swagger.js"):
                assert re.match(r"docs/assets/\d+\.\d+\.\d+/", reference)
                headers = (await anonymous.get(f"/{reference}")).headers
                assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
                assert headers["X-Content-Type-Options"] == "nosniff"


async def test_there_is_nothing_else_among_the_assets(anonymous: httpx.AsyncClient) -> None:
    script = next(name for name in references((await anonymous.get("/docs")).text) if name.endswith(".js"))
    folder = f"/{script.rpartition('/')[0]}"
    for name in ("nothing.js", "..%2F__init__.py", "%2e%2e%2f__init__.py", "%00", ""):
        answer = await anonymous.get(f"{folder}/{name}")
        assert answer.status_code == 404, name
        assert answer.headers["Content-Type"] == "application/problem+json"
    refused = await anonymous.post(f"/{script}")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


async def test_a_prefix_is_a_setting_that_no_stranger_changes(
    make_settings: MakeSettings,
) -> None:
    async with serve_in_process(create_app(make_settings(root_path="/api/sync/"))) as client:
        document = (await client.get("/openapi.json", headers={"X-Forwarded-Prefix": "/elsewhere"})).json()
        assert [server["url"] for server in document["servers"]] == ["/api/sync"]


async def test_the_title_is_text(make_settings: MakeSettings) -> None:
    async with serve_in_process(create_app(make_settings(api_title="</title><script>alert(1)</script>"))) as client:
        for url in PAGES:
            page = (await client.get(url)).text
            assert "<script>alert" not in page
            assert "<title>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page


async def test_behind_a_prefix_the_document_names_it(make_settings: MakeSettings) -> None:
    settings = make_settings()
    app = create_app(settings)

    async def behind_a_proxy(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        moved = {"root_path": "/sync", "path": f"/sync{scope['path']}", "state": {"settings": settings}}
        await app({**scope, **moved}, receive, send)

    transport = httpx.ASGITransport(app=behind_a_proxy)
    async with httpx.AsyncClient(transport=transport, base_url="http://sync-service") as client:
        assert [server["url"] for server in (await client.get("/openapi.json")).json()["servers"]] == ["/sync"]
        for url in PAGES:
            page = (await client.get(url)).text
            for reference in references(page):
                assert (await client.get(f"/{reference}")).status_code == 200, reference
    assert [server["url"] for server in app.openapi()["servers"]] == ["/"]
