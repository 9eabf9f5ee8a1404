"""The OpenAPI document says all there is to say, and the pages that show it are served."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.main import create_app

# Every status that each operation can answer.
STATUSES = {
    "getInformation": {200},
    "getHealth": {200, 503},
    "createSyncEvent": {201, 401, 403, 408, 413, 415, 422, 503},
    "createSyncEvents": {201, 401, 403, 408, 413, 415, 422, 503},
    "listSyncEvents": {200, 401, 403, 422, 503},
    "getSyncEvent": {200, 401, 403, 404, 422, 503},
    "requeueSyncEvent": {202, 401, 403, 404, 409, 422, 503},
    "getFile": {200, 401, 403, 404, 422, 503},
    "listFileEvents": {200, 401, 403, 404, 422, 503},
}
SCOPES = {
    "createSyncEvent": "write:sync",
    "createSyncEvents": "write:sync",
    "listSyncEvents": "read:sync",
    "getSyncEvent": "read:sync",
    "requeueSyncEvent": "admin:sync",
    "getFile": "read:sync",
    "listFileEvents": "read:sync",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(_env_file=None)).openapi()


@pytest.fixture
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def test_every_operation_has_a_name_a_tag_and_a_description(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    names = []
    for path in document["paths"].values():
        for operation in path.values():
            names.append(operation["operationId"])
            assert operation["summary"], names[-1]
            assert operation["description"], names[-1]
            assert len(operation["tags"]) == 1, names[-1]
            assert tags.issuperset(operation["tags"]), names[-1]
    assert len(names) == len(set(names))


def test_every_operation_lists_every_status_it_can_answer(operations: dict[str, dict[str, Any]]) -> None:
    listed = {name: {int(status) for status in one["responses"]} for name, one in operations.items()}
    assert listed == STATUSES


def test_every_answer_has_a_schema(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        for status, answer in operation["responses"].items():
            assert answer["description"], (name, status)
            is_problem = int(status) >= 400 and name != "getHealth"
            [(media_type, content)] = answer["content"].items()
            assert media_type == ("application/problem+json" if is_problem else "application/json"), (name, status)
            assert content["schema"], (name, status)
            if is_problem:
                kind = "ValidationProblem" if status == "422" else "Problem"
                assert content["schema"] == {"$ref": f"#/components/schemas/{kind}"}, (name, status)


def test_every_event_operation_says_which_scope_it_needs(operations: dict[str, dict[str, Any]]) -> None:
    needed = {name: one["security"][0]["bearer"][0] for name, one in operations.items() if "security" in one}
    assert needed == SCOPES


def test_every_reference_has_a_target_and_every_schema_a_use(document: dict[str, Any]) -> None:
    used = {node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)}
    assert used == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_every_parameter_and_property_of_a_body_is_described(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                assert parameter["in"] == "path" or parameter["description"], parameter["name"]
    for name in ("NewEvent", "NewBatchEvent", "NewBatch"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False


def test_the_limits_are_in_the_document(operations: dict[str, dict[str, Any]]) -> None:
    limits = {one["name"]: one["schema"] for one in operations["listSyncEvents"]["parameters"]}
    assert (limits["limit"]["minimum"], limits["limit"]["maximum"], limits["limit"]["default"]) == (1, 1000, 10)
    assert (limits["offset"]["minimum"], limits["offset"]["default"]) == (0, 0)
    assert limits["created_after"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert limits["processed"]["anyOf"][0] == {"type": "boolean"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_document_and_its_pages_are_served_without_a_token(anonymous: httpx.AsyncClient) -> None:
    served = await anonymous.get("/openapi.json")
    assert served.headers["Content-Type"] == "application/json"
    assert set(STATUSES) == {one["operationId"] for path in served.json()["paths"].values() for one in path.values()}
    for url in ("/docs", "/redoc"):
        page = await anonymous.get(url)
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert "/openapi.json" in page.text
