"""`GET /` and `GET /health` as the original documents them, without a token, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx

from app.main import create_app
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.postgres import PostgresServer
from tests.support.waiting import get_once_connected, until, until_ready

ORIGINAL_ROOT = {
    "title": "Synchronization Service API",
    "version": "1.0.0",
    "description": "Service for handling synchronization events",
}
ORIGINAL_HEALTH = {"status": "healthy", "service": "sync-service", "database": "connected"}
PUBLIC = ("/", "/health", "/health/live", "/health/ready", "/metrics")


async def is_ok(client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str] | None = None) -> bool:
    return (await client.request(method, url, headers=headers)).status_code == httpx.codes.OK


@on_sqlite
async def test_the_root_tells_what_this_is(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert {name: body.pop(name) for name in ORIGINAL_ROOT} == ORIGINAL_ROOT
    assert body.pop("status") == "running"
    assert set(body) == {"links"}


@on_sqlite
async def test_the_roots_links_lead_somewhere(client: httpx.AsyncClient) -> None:
    links = (await client.get("/")).json()["links"]
    assert set(links) == {"documentation", "reference", "openapi", "health", "events"}
    for link in links.values():
        assert (await client.get(link)).status_code == 200, link


@on_sqlite
async def test_title_version_and_description_are_settings(make_settings: MakeSettings) -> None:
    settings = make_settings(api_title="Events <ü>", api_version="2.1", api_description="Mine")
    async with serve_in_process(create_app(settings)) as client:
        root, information = (await client.get("/")).json(), (await client.get("/openapi.json")).json()["info"]
    for body in (root, information):
        assert (body["title"], body["version"]) == ("Events <ü>", "2.1")
        assert body["description"].splitlines()[0] == "Mine"


async def test_health_is_what_the_original_documents(anonymous: httpx.AsyncClient) -> None:
    before = datetime.now(UTC)
    answer = await get_once_connected(anonymous)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert "Retry-After" not in answer.headers
    body = answer.json()
    timestamp = body.pop("timestamp")
    assert timestamp.endswith("Z")
    assert timedelta(0) <= datetime.fromisoformat(timestamp) - before < timedelta(minutes=1)
    assert {name: body[name] for name in ORIGINAL_HEALTH} == ORIGINAL_HEALTH


@on_sqlite
async def test_a_token_changes_nothing_good_or_bad(anonymous: httpx.AsyncClient) -> None:
    await until_ready(anonymous)
    for url in PUBLIC:
        await until(lambda url=url: is_ok(anonymous, "GET", url, {"Authorization": "Bearer nonsense"}))  # type: ignore[misc]  # mypy knows no bound lambdas


@on_sqlite
async def test_head_answers_as_get_does_without_a_body(anonymous: httpx.AsyncClient) -> None:
    await until_ready(anonymous)
    for url in PUBLIC:
        head, get = await anonymous.head(url), await anonymous.get(url)
        assert (head.content, head.headers["Content-Type"]) == (b"", get.headers["Content-Type"]), url
        await until(lambda url=url: is_ok(anonymous, "HEAD", url))  # type: ignore[misc]  # mypy knows no bound lambdas


@on_postgresql
async def test_health_is_503_while_the_database_is_away(
    anonymous: httpx.AsyncClient, database_url: str, postgres: PostgresServer
) -> None:
    name = database_url.rpartition("/")[2]
    assert (await get_once_connected(anonymous)).status_code == 200

    async def rename(old: str, new: str) -> None:
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{old}'"  # noqa: S608 - our own names
        for statement in (
            f"ALTER DATABASE {old} ALLOW_CONNECTIONS false",  # or the service would be back before it is renamed
            cut,
            f"ALTER DATABASE {old} RENAME TO {new}",
            f"ALTER DATABASE {new} ALLOW_CONNECTIONS true",
        ):
            await asyncio.to_thread(postgres.sql, statement)

    await rename(name, f"{name}_away")
    answer = await anonymous.get("/health")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    body = answer.json()
    assert datetime.fromisoformat(body.pop("timestamp"))
    assert (body["status"], body["service"], body["database"]) == ("unhealthy", "sync-service", "disconnected")
    assert {body[name] for name in ("unprocessed_events", "oldest_unprocessed_age_seconds", "set_aside_events")} == {
        None
    }

    await rename(f"{name}_away", name)
    assert (await get_once_connected(anonymous)).status_code == 200
