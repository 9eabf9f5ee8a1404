"""Pages of the origins that the operator names may call the API from a browser; others may not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from app.main import create_app
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

OURS, OTHER = "https://app.example.com", "https://other.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,idempotency-key"}
EXPOSED = {"ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "X-Request-ID"}

pytestmark = on_sqlite


@asynccontextmanager
async def serving(make_settings: MakeSettings, tokens: TokenFactory, origins: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serve_in_process(create_app(make_settings(cors_allow_origins=origins))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        yield client


async def test_a_page_of_a_named_origin_may_call_the_api(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    async with serving(make_settings, tokens, f"{OURS},http://localhost:3000") as client:
        preflight = await client.options("/sync-events", headers={"Origin": OURS} | PREFLIGHT)
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, OURS)
        assert {"POST", "DELETE"} <= set(preflight.headers["Access-Control-Allow-Methods"].split(", "))
        assert "X-Request-ID" in preflight.headers
        for path in ("/sync-events", "/sync-events/nonsense", "/changes"):
            response = await client.get(path, headers={"Origin": OURS})
            assert response.headers["Access-Control-Allow-Origin"] == OURS
            assert "Origin" in response.headers["Vary"]
            assert set(response.headers["Access-Control-Expose-Headers"].split(", ")) >= EXPOSED
        refused = await client.get("/sync-events", headers={"Origin": OURS, "Authorization": "Bearer x"})
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, OURS)


async def test_a_page_of_another_origin_may_not(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    async with serving(make_settings, tokens, OURS) as client:
        preflight = await client.options("/sync-events", headers={"Origin": OTHER} | PREFLIGHT)
        assert preflight.status_code == 400
        for response in (preflight, await client.get("/sync-events", headers={"Origin": OTHER})):
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_by_default_no_page_may(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    async with serving(make_settings, tokens, "") as client:
        assert (await client.options("/sync-events", headers={"Origin": OURS} | PREFLIGHT)).status_code == 405
        assert "Access-Control-Allow-Origin" not in (await client.get("/", headers={"Origin": OURS})).headers
