"""Checks, findings and verdicts over HTTP, and the scopes of all routes, on both databases where they differ."""

import csv
import io
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.consistency.owner import Owner
from tests.consistency.routes import add_source, run_check
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

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
async def test_wrong_checks(client: httpx.AsyncClient) -> None:
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
