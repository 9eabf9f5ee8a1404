"""Sources, checks, findings and verdicts over HTTP, on both databases where they differ."""

import asyncio
import csv
import io
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.main import create_app
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner
from tests.support.application import serve_in_process
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.tokens import TokenFactory
from tests.support.waiting import until


async def add_source(client: httpx.AsyncClient, owner: Owner, **changes: Any) -> dict[str, Any]:
    new = {"name": "owner", "kind": "contract", "url": owner.url, "grace_seconds": 0, **changes}
    response = await client.post("/consistency/sources", json=new)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"sources/{body['id']}"
    assert (await client.get(response.url.join(response.headers["Location"]))).json() == body
    return body


async def run_check(client: httpx.AsyncClient, source: str, **changes: Any) -> dict[str, Any]:
    response = await client.post("/consistency/checks", json={"source": source, "scope": {"all": True}, **changes})
    assert response.status_code == 202, response.text
    body: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"checks/{body['id']}"
    url = response.url.join(response.headers["Location"])
    while body["state"] == "running":
        await asyncio.sleep(0.02)
        body = (await client.get(url)).json()
    return body


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
WRONG_CHECKS: list[dict[str, Any]] = [
    {"scope": {"all": True}},
    {"source": str(uuid4()), "scope": {}},
    {"source": str(uuid4()), "scope": {"all": False}},
    {"source": str(uuid4()), "scope": {"all": True, "file_ids": [str(uuid4())]}},
    {"source": str(uuid4()), "scope": {"file_ids": []}},
    {"source": str(uuid4()), "scope": {"file_ids": ["42"]}},
    {"source": str(uuid4()), "scope": {"all": True}, "deep": "8/7"},
]


@on_sqlite
async def test_wrong_sources_and_checks(client: httpx.AsyncClient) -> None:
    for changes, member in WRONG_SOURCES:
        new = {"name": "owner", "kind": "contract", "url": "http://127.0.0.1:1", **changes}
        response = await client.post("/consistency/sources", json=new)
        assert (response.status_code, response.json()["errors"][0]["loc"]) == (422, ["body", member])
    for body in WRONG_CHECKS:
        assert (await client.post("/consistency/checks", json=body)).status_code == 422, body


async def test_a_check_its_findings_and_their_acceptance(
    client: httpx.AsyncClient, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.consistency.finding_repository.ACCEPTED_AT_ONCE", 3)
    owner.put(*(files := sorted(uuid4() for _ in range(5))))
    source = (await add_source(client, owner, grace_seconds=3600))["id"]
    check = await run_check(client, source)
    assert (check["state"], check["compared"], check["counts"], check["of"]) == ("complete", 5, {"orphaned": 5}, None)
    assert (await client.get("/consistency/checks")).json() == [check]
    assert (await client.post(f"/consistency/checks/{check['id']}/cancel")).status_code == 409
    page = await client.get("/consistency/findings?limit=2&kind=orphaned&state=suspected")
    assert len(page.json()) == 2
    following = await client.get(page.url.join(page.links["next"]["url"]))
    assert {one["file_id"] for one in page.json()}.isdisjoint(one["file_id"] for one in following.json())
    assert f"before={page.json()[-1]['id']}" in page.links["next"]["url"]
    assert (await client.get("/consistency/findings?offset=10001")).status_code == 422
    [finding] = (await client.get(f"/consistency/findings?file_id={files[0]}")).json()
    assert finding == {
        **finding,
        "source": source,
        "file_id": str(files[0]),
        "kind": "orphaned",
        "state": "suspected",
        "evidence": {"expected": {"exists": False}, "found": {"exists": True}},
        "resolved_at": None,
        "reason": None,
        "message": "The source holds the file, but by its events it does not exist.",
    }
    path = f"/consistency/findings/{finding['id']}/accept"
    accepted = await client.post(path, json={"reason": "older than the ledger"})
    assert (accepted.status_code, accepted.json()) == (
        200,
        {**finding, "state": "accepted", "reason": "older than the ledger"},
    )
    assert (await client.post(path, json={"reason": "again"})).status_code == 409
    bulk = {"filter": {"kind": "orphaned", "source": source}, "expected": 5, "reason": "old"}
    refused = await client.post("/consistency/findings/accept", json=bulk)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:sync-service:problem:other-count")
    assert len((await client.get("/consistency/findings?state=suspected")).json()) == 4
    done = await client.post("/consistency/findings/accept", json={**bulk, "expected": 4})
    assert (done.status_code, done.json()) == (200, {"accepted": 4})
    assert len((await client.get("/consistency/findings?state=accepted")).json()) == 5
    assert (await client.get(f"/files/{files[0]}/consistency")).json() == {
        "file_id": str(files[0]),
        "sources": [
            {
                "source": source,
                "verdict": "inconsistent",
                "seen_at": finding["last_seen_at"],
                "evidence": finding["evidence"],
            }
        ],
    }
    owner.files.clear()
    await run_check(client, source)
    assert {one["state"] for one in (await client.get("/consistency/findings")).json()} == {"resolved"}


@on_sqlite
async def test_findings_as_csv(client: httpx.AsyncClient, owner: Owner) -> None:
    owner.put(uuid4(), uuid4())
    await run_check(client, (await add_source(client, owner))["id"])
    response = await client.get("/consistency/findings?limit=1", headers={"Accept": "text/csv"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    for other in ("text/csv;q=0", "text/csv-schema", "*/*"):
        page = await client.get("/consistency/findings?limit=1", headers={"Accept": other})
        assert page.headers["content-type"] == "application/json", other
    assert "next" in response.links
    [row] = csv.DictReader(io.StringIO(response.text))
    assert (row["kind"], row["expected"], row["found"]) == ("orphaned", '{"exists": false}', '{"exists": true}')


async def test_checks_by_pages(client: httpx.AsyncClient, owner: Owner) -> None:
    source = (await add_source(client, owner))["id"]
    checks = [await run_check(client, source, scope={"file_ids": [str(uuid4())]}) for _ in range(5)]
    pages = [await client.get(f"/consistency/checks?source={source}&limit=2")]
    while "next" in pages[-1].links:
        pages.append(await client.get(pages[-1].url.join(pages[-1].links["next"]["url"])))
    assert [len(page.json()) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in page.json()] == checks[::-1]
    assert f"before={checks[1]['id']}" in pages[1].links["next"]["url"], "it continues at any depth"
    assert (await client.get("/consistency/checks?limit=2&offset=3")).json() == checks[1::-1]
    refused = await client.get("/consistency/checks?offset=10001")
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["query", "offset"])


async def test_refresh_over_http(client: httpx.AsyncClient, owner: Owner) -> None:
    assert (await client.get(f"/files/{uuid4()}/consistency")).status_code == 404
    assert (await client.get(f"/files/{uuid4()}/consistency?refresh=true")).status_code == 404
    await add_source(client, owner)
    event = {"file_id": str(file_id := uuid4()), "event_type": "upload"}
    await client.post("/sync-events", json=event)
    [found] = (await client.get(f"/files/{file_id}/consistency?refresh=true")).json()["sources"]
    assert found["verdict"] == "in_flight"


async def test_a_repair_over_http(client: httpx.AsyncClient, owner: Owner) -> None:
    owner.put(file_id := uuid4())
    source = (await add_source(client, owner))["id"]
    await run_check(client, source)
    await run_check(client, source, scope={"file_ids": [str(file_id)]})
    [finding] = (await client.get("/consistency/findings?state=open")).json()
    body = {"filter": {"source": source}, "action": "compensate", "dry_run": True}
    planned = await client.post("/consistency/repairs", json=body)
    plan = planned.json()
    assert (planned.status_code, planned.headers["ETag"]) == (201, f'"{plan["digest"]}"')
    assert plan == {"id": plan["id"], "digest": plan["digest"], "action": "compensate", "findings": [finding]}
    path, right = f"/consistency/repairs/{plan['id']}/apply", {"If-Match": planned.headers["ETag"]}
    refused = await client.post(path)
    assert (refused.status_code, refused.json()["type"]) == (428, "urn:sync-service:problem:precondition-required")
    for wrong in ('"x"', '"x", "y"', "*"):
        assert (await client.post(path, headers={"If-Match": wrong})).status_code == 412
    for malformed in ("x", plan["digest"], '"x" "y"', ""):
        refused = await client.post(path, headers={"If-Match": malformed})
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["header", "if-match"])
    assert (await client.get("/sync-events")).json() == []
    applied = await client.post(path, headers={"If-Match": f'W/{right["If-Match"]}, "x"'})
    assert (applied.status_code, applied.json()) == (
        200,
        {
            "id": plan["id"],
            "digest": plan["digest"],
            "action": "compensate",
            "results": [{"finding": finding["id"], "outcome": "applied", "reason": None}],
        },
    )
    [event] = (await client.get("/sync-events")).json()
    assert (event["event_type"], event["metadata"]) == ("upload", {"compensates": finding["id"]})
    assert (await client.post(path, headers=right)).json() == applied.json()
    assert len((await client.get("/sync-events")).json()) == 1
    assert (await client.post(f"/consistency/repairs/{uuid4()}/apply", headers=right)).status_code == 404
    for change in ({"dry_run": False}, {"action": "delete"}, {"filter": {"state": "lost"}}, {"surprise": 1}):
        assert (await client.post("/consistency/repairs", json={**body, **change})).status_code == 422, change


async def test_scopes(client: httpx.AsyncClient, owner: Owner, tokens: TokenFactory) -> None:
    source = (await add_source(client, owner))["id"]
    client.headers["Authorization"] = f"Bearer {tokens.token(scope='read:sync')}"
    for path in ("sources", f"sources/{source}", "checks", "findings"):
        assert (await client.get(f"/consistency/{path}")).status_code == 200
    some = uuid4()
    for method, path, body in (
        ("POST", "sources", {"name": "x", "kind": "contract", "url": owner.url}),
        ("PATCH", f"sources/{source}", {"name": "x"}),
        ("DELETE", f"sources/{source}", None),
        ("POST", f"sources/{source}/test", None),
        ("POST", "checks", {"source": source, "scope": {"all": True}}),
        ("POST", f"checks/{some}/cancel", None),
        ("POST", f"findings/{some}/accept", {"reason": "x"}),
        ("POST", "findings/accept", {"filter": {}, "expected": 0, "reason": "x"}),
        ("POST", "repairs", {"filter": {}, "action": "redeliver"}),
        ("POST", f"repairs/{some}/apply", None),
    ):
        response = await client.request(method, f"/consistency/{path}", json=body)
        assert response.status_code == 403, path


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
