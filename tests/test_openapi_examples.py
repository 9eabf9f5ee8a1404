"""The examples of the OpenAPI document are what the service takes and sends."""

from typing import Any

import httpx
import pytest

from app.config import Settings
from app.main import create_app
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.openapi import read_operations
from tests.support.tokens import TokenFactory


@pytest.fixture(scope="module")
def operations() -> dict[str, dict[str, Any]]:
    return read_operations(create_app(Settings(_env_file=None)).openapi())


def bodies(operations: dict[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The example bodies of an operation."""
    content = operations[name]["requestBody"]["content"]["application/json"]
    return [example["value"] for example in content["examples"].values()]


@on_sqlite
async def test_the_example_bodies_work_as_often_as_they_are_sent(
    client: httpx.AsyncClient, operations: dict[str, dict[str, Any]]
) -> None:
    for url, name in (("/sync-events", "createSyncEvent"), ("/sync-events/batch", "createSyncEvents")):
        for body in bodies(operations, name) * 2:
            created = await client.post(url, json=body)
            assert created.status_code == 201, created.text
            example = operations[name]["responses"]["201"]["content"]["application/json"]["example"]
            assert created.json().keys() == example.keys()
            assert created.json()["message"] == example["message"]


@on_sqlite
async def test_the_examples_have_the_members_that_answers_have(
    client: httpx.AsyncClient, operations: dict[str, dict[str, Any]]
) -> None:
    [upload, *_] = bodies(operations, "createSyncEvent")
    location = (await client.post("/sync-events", json=upload)).headers["Location"]
    file = f"/files/{upload['file_id']}"
    urls = {
        "getHealth": "/health",
        "getLiveness": "/health/live",
        "getReadiness": "/health/ready",
        "getInformation": "/",
        "getOverview": "/overview",
        "getThroughput": "/throughput?from=2026-01-15T10:00:00Z&to=2026-01-15T11:00:00Z",
        "listSyncEvents": "/sync-events",
        "getSyncEvent": location,
        "listChanges": "/changes",
        "getFile": file,
        "listFileEvents": f"{file}/events",
    }
    for name, url in urls.items():
        example = operations[name]["responses"]["200"]["content"]["application/json"]["example"]
        answer = (await client.get(url)).json()
        if isinstance(answer, list):
            [answer], [example] = answer, example
        assert list(answer) == list(example), name


def problem_examples(operations: dict[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Every problem that the operation documents."""
    return [
        example["value"]
        for answer in operations[name]["responses"].values()
        for example in answer["content"].get("application/problem+json", {}).get("examples", {}).values()
    ]


@on_sqlite
async def test_the_problems_are_those_that_the_service_answers(
    make_settings: MakeSettings, tokens: TokenFactory, operations: dict[str, dict[str, Any]]
) -> None:
    everything = {"Authorization": f"Bearer {tokens.token(scope='read:sync write:sync admin:sync')}"}
    nothing = {"Authorization": f"Bearer {tokens.token(scope='')}"}
    event = operations["getSyncEvent"]["parameters"][0]["example"]
    file = operations["getFile"]["parameters"][0]["example"]
    upload = {"file_id": file, "event_type": "upload"}
    key = {"Idempotency-Key": "once"}
    async with serve_in_process(create_app(make_settings(auth_enforce_scopes=True))) as client:

        async def send(method: str, url: str, **options: Any) -> httpx.Response:
            headers = everything | options.pop("headers", {})
            return await client.request(method, url, headers=headers, **options)

        location = (await send("POST", "/sync-events", json=upload, headers=key)).headers["Location"]
        sent = {
            ("createSyncEvent", "no_token"): await client.post("/sync-events"),
            ("createSyncEvent", "scope"): await client.post("/sync-events", headers=nothing),
            ("createSyncEvent", "unknown_parameter"): await send("POST", "/sync-events?a=b", json=upload),
            ("createSyncEvent", "event_type"): await send(
                "POST", "/sync-events", json={**upload, "event_type": "rename"}
            ),
            ("createSyncEvent", "not_json"): await send(
                "POST", "/sync-events", content="upload", headers={"Content-Type": "application/json"}
            ),
            ("createSyncEvent", "large"): await send("POST", "/sync-events", json=" " * 131_072),
            ("createSyncEvent", "media_type"): await send("POST", "/sync-events", content="upload"),
            ("createSyncEvent", "reused_key"): await send(
                "POST", "/sync-events", json={**upload, "event_type": "delete"}, headers=key
            ),
            ("createSyncEvents", "no_events"): await send("POST", "/sync-events/batch", json={"events": []}),
            ("createSyncEvents", "large"): await send("POST", "/sync-events/batch", json=" " * 4_194_304),
            ("getSyncEvent", "unknown_event"): await send("GET", f"/sync-events/{event}"),
            ("getSyncEvent", "scope"): await client.get(location, headers=nothing),
            ("requeueSyncEvent", "unknown_event"): await send("POST", f"/sync-events/{event}/requeue"),
            ("requeueSyncEvent", "not_set_aside"): await send("POST", f"{location}/requeue"),
            ("requeueSyncEvent", "scope"): await client.post(f"{location}/requeue", headers=nothing),
            ("listChanges", "damaged_cursor"): await send("GET", "/changes?cursor=x"),
            ("streamChanges", "damaged_cursor"): await send("GET", "/changes/stream", headers={"Last-Event-ID": "x"}),
            ("getFile", "unknown_file"): await send("GET", f"/files/{event}"),
        }
    for (name, problem), answer in sent.items():
        own = {one: answer.json()[one] for one in ("instance", "docs") if one in answer.json()}
        documented = [example | own for example in problem_examples(operations, name)]
        assert answer.json() in documented, (name, problem)
        listed = operations[name]["responses"][str(answer.status_code)]["headers"]
        assert {header for header in ("WWW-Authenticate", "Retry-After") if header in answer.headers} <= set(listed)
