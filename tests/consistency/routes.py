"""Sources and checks of tests, over HTTP."""

import asyncio
from typing import Any

import httpx

from tests.consistency.owner import Owner


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
