"""Sources over HTTP, on both databases where they differ."""

from typing import Any
from uuid import uuid4

import httpx

from app.main import create_app
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner
from tests.consistency.routes import add_source
from tests.support.application import serve_in_process
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.tokens import TokenFactory
from tests.support.waiting import until


async def test_a_source_is_created_changed_tested_and_deleted(client: httpx.AsyncClient, owner: Owner) -> None:
    source = await add_source(client, owner, headers={"Authorization": "Bearer x", "X-Other": "y"})
    assert source["header_names"] == ["Authorization", "X-Other"]
    assert source["enabled"] is True
    path = f"/consistency/sources/{source['id']}"
    assert (await client.get("/consistency/sources")).json() == [source]
    changed = await client.patch(path, json={"headers": {"x-other": None}, "grace_seconds": 600, "enabled": False})
    assert changed.json() == {**source, "header_names": ["Authorization"], "grace_seconds": 600, "enabled": False}
    assert (await client.get(path)).json() == changed.json()
    disabled = await client.post("/consistency/checks", json={"source": source["id"], "scope": {"all": True}})
    assert (disabled.status_code, disabled.json()["type"]) == (409, "urn:sync-service:problem:source-disabled")
    owner.put(uuid4())
    owner.total = 1
    tested = (await client.post(f"{path}/test")).json()
    assert (tested["ok"], tested["status_code"], tested["total"], tested["watermark"]) == (True, 200, 1, 1_000_000)
    assert "Bearer x" in owner.headers[-1]
    owner.meddle = lambda _path, _reply: (401, b"go away")
    tested = (await client.post(f"{path}/test")).json()
    assert (tested["ok"], tested["error"], tested["response"]) == (
        False,
        "The source responds with status 401.",
        "go away",
    )
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == (await client.delete(path)).status_code == 404


@on_postgresql
async def test_there_are_at_most_twenty_sources(client: httpx.AsyncClient, owner: Owner) -> None:
    for _ in range(20):
        await add_source(client, owner)
    response = await client.post("/consistency/sources", json={"name": "x", "kind": "contract", "url": owner.url})
    assert (response.status_code, response.json()["type"]) == (409, "urn:sync-service:problem:too-many-sources")


WRONG_SOURCES: list[tuple[dict[str, Any], str]] = [
    ({"url": "ftp://example.com"}, "url"),
    ({"url": "http://user:secret@example.com"}, "url"),
    ({"url": "http://example.com/?a=b"}, "url"),
    ({"kind": "cloud"}, "kind"),
    ({"grace_seconds": -1}, "grace_seconds"),
    ({"headers": {"host": "x"}}, "headers"),
    ({"enabled": "yes"}, "enabled"),
    ({"surprise": 1}, "surprise"),
]


@on_sqlite
async def test_wrong_sources(client: httpx.AsyncClient) -> None:
    for changes, member in WRONG_SOURCES:
        new = {"name": "owner", "kind": "contract", "url": "http://127.0.0.1:1", **changes}
        response = await client.post("/consistency/sources", json=new)
        assert (response.status_code, response.json()["errors"][0]["loc"]) == (422, ["body", member])


@on_sqlite
async def test_private_addresses_need_the_setting(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    settings = make_settings(webhook_allow_private_addresses=False)
    async with serve_in_process(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        new = {"name": "x", "kind": "contract", "url": "http://169.254.169.254"}
        response = await client.post("/consistency/sources", json=new)
        assert (response.status_code, response.json()["errors"][0]["type"]) == (422, "url_refused")


async def test_the_source_cloud_exists_without_a_request(
    make_settings: MakeSettings, database_url: str, tokens: TokenFactory, owner: Owner
) -> None:
    cloud = {"metadata_service_url": owner.url, "block_storage_service_url": owner.url}
    async with serve_in_process(create_app(make_settings(database_url=database_url, **cloud))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        await until(lambda: _has_sources(client))
        [source] = (await client.get("/consistency/sources")).json()
        assert (source["name"], source["kind"], source["url"]) == ("cloud", "cloud", owner.url)
        assert (source["grace_seconds"], source["enabled"], source["header_names"]) == (300, True, [])
        path = f"/consistency/sources/{source['id']}"
        changed = await client.patch(path, json={"grace_seconds": 60, "enabled": True})
        assert changed.json() == {**source, "grace_seconds": 60}
        for change in ({"name": "x"}, {"url": "https://example.com"}, {"headers": {"a": "b"}, "enabled": False}):
            refused = await client.patch(path, json=change)
            assert refused.status_code == 422
            assert [one["loc"] for one in refused.json()["errors"]] == [["body", next(iter(change))]]
        deleted = await client.delete(path)
        assert (deleted.status_code, deleted.json()["type"]) == (409, "urn:sync-service:problem:source-of-environment")
        owner.meddle = lambda _path, _reply: (200, b"[]")
        tested = (await client.post(f"{path}/test")).json()
        assert (tested["ok"], tested["status_code"], owner.paths) == (True, 200, ["/files?limit=1", "/chunks"])
        check = {"source": source["id"], "scope": {"all": True}, "deep": "1/7"}
        assert (await client.post("/consistency/checks", json=check)).status_code == 202
        other = (await add_source(client, owner))["id"]
        refused = await client.post("/consistency/checks", json={**check, "source": other})
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body", "deep"])


async def _has_sources(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/consistency/sources")).json())
