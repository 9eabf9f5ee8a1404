"""`/console` over HTTP: the page, its headers and settings, and its assets."""

import html
import json
import re

import httpx

from app.main import create_app
from tests.conftest import AUDIENCE, MakeSettings
from tests.support.application import serve_in_process
from tests.support.keyserver import KeyServer
from tests.support.marks import on_sqlite

pytestmark = on_sqlite
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{issuer}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


def configuration(page: str) -> dict[str, object]:
    """What the page says to its scripts."""
    [content] = re.findall(r'<meta name="console" content="([^"]*)">', page)
    found: dict[str, object] = json.loads(html.unescape(content))
    return found


async def test_the_page_has_the_headers_that_keep_everything_else_out(
    anonymous: httpx.AsyncClient, issuer: KeyServer
) -> None:
    for request in (anonymous.get, anonymous.head):
        response = await request("/console")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Content-Security-Policy"] == POLICY.format(issuer=f" https://{issuer.domain}")
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_says_how_to_log_in(make_settings: MakeSettings, issuer: KeyServer) -> None:
    changes = {"auth0_console_client_id": "aB3_x-9", "auth_enforce_scopes": True, "api_title": 'A "<b>" & more'}
    async with serve_in_process(create_app(make_settings(**changes))) as client:
        page = (await client.get("/console")).text
    assert configuration(page) == {
        "title": changes["api_title"],
        "auth0_domain": issuer.domain,
        "auth0_client_id": "aB3_x-9",
        "audience": AUDIENCE,
        "enforce_scopes": True,
    }


async def test_local_mode_connects_to_nobody_else(make_settings: MakeSettings) -> None:
    async with serve_in_process(create_app(make_settings(auth0_domain=""))) as client:
        response = await client.get("/console")
    assert response.headers["Content-Security-Policy"] == POLICY.format(issuer="")
    assert configuration(response.text)["auth0_domain"] == ""


async def test_every_reference_is_relative_and_served(anonymous: httpx.AsyncClient) -> None:
    page = (await anonymous.get("/console")).text
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(references) >= 4
    for reference in references:
        assert reference.startswith("console/assets/")
        response = await anonymous.get(f"/{reference}")
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-cache"
        again = await anonymous.get(f"/{reference}", headers={"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304


async def test_nothing_else_is_served(anonymous: httpx.AsyncClient) -> None:
    for path in ("", "lib", "nothing.js", "%2e%2e/router.py", "..%2frouter.py", "lib/../../router.py"):
        assert (await anonymous.get(f"/console/assets/{path}")).status_code == 404


async def test_a_slash_too_many_redirects_under_any_prefix(anonymous: httpx.AsyncClient) -> None:
    response = await anonymous.get("/console/")
    assert (response.status_code, response.headers["Location"]) == (307, "../console")


async def test_it_can_be_turned_off(make_settings: MakeSettings) -> None:
    async with serve_in_process(create_app(make_settings(console_enabled=False))) as client:
        for path in ("/console", "/console/", "/console/assets/main.js"):
            assert (await client.get(path)).status_code == 404
