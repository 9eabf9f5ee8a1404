"""Repairs over HTTP."""

from uuid import uuid4

import httpx

from tests.consistency.owner import Owner
from tests.consistency.routes import add_source, run_check


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
