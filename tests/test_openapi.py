"""The OpenAPI document says all there is to say, and what it says is so."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import BaseModel

from app.config import Settings
from app.deliveries.message import event_body, ping_body
from app.http.dependencies import ENTITY_TAGS
from app.main import create_app
from app.operations.document import EventMessage, EventMessageData, PingMessage
from app.outbound.secret import new_secret, signed_headers
from tests.support.marks import on_sqlite
from tests.support.openapi import read_operations

# Every status that each operation can answer.
TOKEN = {401, 403, 422, 429, 500, 503}
BODY = {408, 413, 415}
STATUSES = {
    "getInformation": {200, 500, 503},
    "getHealth": {200, 500, 503},
    "getLiveness": {200, 500},
    "getReadiness": {200, 500, 503},
    "getMetrics": {200, 500},
    "getOverview": {200, *TOKEN},
    "getThroughput": {200, *TOKEN},
    "createSyncEvent": {201, *TOKEN, *BODY},
    "createSyncEvents": {201, *TOKEN, *BODY},
    "listSyncEvents": {200, *TOKEN},
    "getSyncEvent": {200, 404, *TOKEN},
    "listSetAsideGroups": {200, *TOKEN},
    "requeueSyncEvent": {202, 404, 409, *TOKEN},
    "requeueSyncEvents": {200, 409, *TOKEN, *BODY},
    "listChanges": {200, 400, 410, *TOKEN},
    "streamChanges": {200, 400, 410, *TOKEN},
    "getFile": {200, 404, *TOKEN},
    "listFileEvents": {200, 404, *TOKEN},
    "createSubscription": {201, 409, *TOKEN, *BODY},
    "listSubscriptions": {200, *TOKEN},
    "getSubscription": {200, 404, *TOKEN},
    "changeSubscription": {200, 404, 412, *TOKEN, *BODY},
    "deleteSubscription": {204, 404, 412, *TOKEN},
    "rotateSecret": {200, 404, 412, *TOKEN},
    "testSubscription": {200, 404, *TOKEN},
    "replaySubscription": {202, 404, 409, *TOKEN, *BODY},
    "endReplay": {204, 404, *TOKEN},
    "redeliverDead": {200, 202, 404, 409, *TOKEN, *BODY},
    "listDeliveries": {200, 404, *TOKEN},
    "getDelivery": {200, 404, *TOKEN},
    "redeliver": {202, 404, 409, *TOKEN},
    "listEventDeliveries": {200, 404, *TOKEN},
}
OF_WEBHOOKS = list(STATUSES)[list(STATUSES).index("createSubscription") :]
CONSISTENCY_READS = {
    "listConsistencySources": {200, *TOKEN},
    "getConsistencySource": {200, 404, *TOKEN},
    "listConsistencyChecks": {200, *TOKEN},
    "getConsistencyCheck": {200, 404, *TOKEN},
    "listConsistencyFindings": {200, *TOKEN},
    "getFileConsistency": {200, 404, *TOKEN},
}
CONSISTENCY_WRITES = {
    "createConsistencySource": {201, 409, *TOKEN, *BODY},
    "changeConsistencySource": {200, 404, *TOKEN, *BODY},
    "deleteConsistencySource": {204, 404, 409, *TOKEN},
    "testConsistencySource": {200, 404, *TOKEN},
    "createConsistencyCheck": {202, 404, 409, *TOKEN, *BODY},
    "cancelConsistencyCheck": {200, 404, 409, *TOKEN},
    "acceptConsistencyFinding": {200, 404, 409, *TOKEN, *BODY},
    "acceptConsistencyFindings": {200, 409, *TOKEN, *BODY},
    "planConsistencyRepair": {201, *TOKEN, *BODY},
    "applyConsistencyRepair": {200, 404, 412, 428, *TOKEN},
}


STATUSES |= CONSISTENCY_READS | CONSISTENCY_WRITES
SCOPES = {
    "getOverview": "read:sync",
    "getThroughput": "read:sync",
    "listSetAsideGroups": "read:sync",
    "createSyncEvent": "write:sync",
    "createSyncEvents": "write:sync",
    "listSyncEvents": "read:sync",
    "getSyncEvent": "read:sync",
    "requeueSyncEvent": "admin:sync",
    "requeueSyncEvents": "admin:sync",
    "listChanges": "read:sync",
    "streamChanges": "read:sync",
    "getFile": "read:sync",
    "listFileEvents": "read:sync",
    **dict.fromkeys([*OF_WEBHOOKS, *CONSISTENCY_WRITES], "admin:sync"),
    **dict.fromkeys(CONSISTENCY_READS, "read:sync"),
}
MEDIA_TYPES = {"getMetrics": "text/plain", "streamChanges": "text/event-stream"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(_env_file=None)).openapi()


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return read_operations(document)


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


def test_what_every_operation_can_answer_comes_last_and_once(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            own = [status for status, answer in responses.items() if "$ref" not in answer]
            common = [status for status, answer in responses.items() if "$ref" in answer]
            assert list(responses) == sorted(own) + sorted(common)
            assert {"401", "500"} & set(responses) <= set(common)


def test_tags_are_in_the_order_of_use(document: dict[str, Any]) -> None:
    tags = [tag["name"] for tag in document["tags"]]
    assert tags == ["events", "files", "changes", "consistency", "subscriptions", "deliveries", "operations"]


def test_webhooks_describe_what_subscribers_get(document: dict[str, Any]) -> None:
    at, some = datetime.now(UTC), uuid4()
    values = {"id": some, "position": 7, "file_id": some, "event_type": "upload", "created_at": at}
    event = SimpleNamespace(**values, created_by="chunker@clients", event_metadata={"path": "a.txt"})
    messages: dict[str, tuple[type[BaseModel], bytes]] = {
        "event": (EventMessage, event_body(event, some)),
        "ping": (PingMessage, ping_body(some, some, some, at)),
    }
    assert set(document["webhooks"]) == set(messages)
    for name, (model, body) in messages.items():
        model.model_validate_json(body)
        schema = document["components"]["schemas"][model.__name__]
        assert set(json.loads(body)) == set(schema["properties"]) == set(schema["required"]), name
        headers = {parameter["name"] for parameter in document["webhooks"][name]["post"]["parameters"]}
        assert headers == set(signed_headers(str(some), at, body, [new_secret()]))
    assert set(json.loads(messages["event"][1])["data"]) == set(EventMessageData.model_fields)


def answers(operations: dict[str, dict[str, Any]]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The name of the operation, the status and the description of every answer."""
    for name, operation in operations.items():
        for status, answer in operation["responses"].items():
            yield name, int(status), answer


def test_every_answer_has_a_schema_an_example_and_a_description(operations: dict[str, dict[str, Any]]) -> None:
    for name, status, answer in answers(operations):
        assert len(answer["description"]) > len("Successful Response") or status < 400, (name, status)
        assert answer["description"] != "Successful Response", (name, status)
        if status == 204:
            assert "content" not in answer, (name, status)
            continue
        [(media_type, content)] = answer["content"].items()
        if status < 400 or (status == 503 and name in {"getHealth", "getReadiness"}):
            assert media_type == MEDIA_TYPES.get(name, "application/json"), (name, status)
            assert content["schema"], (name, status)
            assert content["example"], (name, status)
        else:
            assert media_type == "application/problem+json", (name, status)
            kind = "ValidationProblem" if status == 422 else "Problem"
            assert content["schema"] == {"$ref": f"#/components/schemas/{kind}"}, (name, status)
            assert content["examples"], (name, status)
            for example in content["examples"].values():
                assert example["value"]["status"] == status, (name, status)
                assert ("errors" in example["value"]) == (status == 422), (name, status)


def test_every_answer_lists_its_headers(operations: dict[str, dict[str, Any]]) -> None:
    headers = {(name, status): set(answer["headers"]) for name, status, answer in answers(operations)}
    assert all("X-Request-ID" in names for names in headers.values())
    for (name, status), names in headers.items():
        assert ("WWW-Authenticate" in names) == (status in {401, 403}), (name, status)
        assert ("Retry-After" in names) == (status in {429, 503}), (name, status)
    assert headers["createSyncEvent", 201] == {"Location", "Idempotency-Replayed", "X-Request-ID"}
    assert headers["createSyncEvents", 201] == {"Idempotency-Replayed", "X-Request-ID"}
    assert headers["listSyncEvents", 200] == headers["listFileEvents", 200] == {"Link", "X-Request-ID"}
    assert headers["createSubscription", 201] == {"Location", "ETag", "Cache-Control", "X-Request-ID"}
    assert headers["changeSubscription", 200] == {"ETag", "X-Request-ID"}
    assert headers["listDeliveries", 200] == {"Link", "X-Request-ID"}


def test_every_if_match_is_a_list_of_entity_tags(operations: dict[str, dict[str, Any]]) -> None:
    patterns = {
        name: parameter["schema"].get("pattern")
        for name, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if parameter["name"].lower() == "if-match"
    }
    assert {"changeSubscription", "applyConsistencyRepair"} <= patterns.keys()
    assert set(patterns.values()) == {ENTITY_TAGS}


def test_bodies_have_examples_and_path_parameters_an_example(
    operations: dict[str, dict[str, Any]], document: dict[str, Any]
) -> None:
    def examples(name: str) -> list[str]:
        return list(operations[name]["requestBody"]["content"]["application/json"]["examples"])

    assert examples("createSyncEvent") == ["upload", "update", "delete"]
    assert examples("createSyncEvents") == ["batch", "idempotent"]
    for name in ("NewSubscription", "SubscriptionChange", "Replay"):
        assert len(document["components"]["schemas"][name]["examples"]) == 2
    for operation in operations.values():
        for parameter in operation.get("parameters", []):
            assert ("example" in parameter) == (parameter["in"] == "path"), parameter["name"]


def test_every_event_operation_says_which_scope_it_needs(operations: dict[str, dict[str, Any]]) -> None:
    needed = {name: one["security"][0]["bearer"][0] for name, one in operations.items() if "security" in one}
    assert needed == SCOPES


def test_every_reference_has_a_target_and_every_schema_a_use(document: dict[str, Any]) -> None:
    used = {node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)}
    components = document["components"]
    assert used == {
        f"#/components/{kind}/{name}" for kind in ("schemas", "headers", "responses") for name in components[kind]
    }


def test_every_parameter_and_property_of_a_body_is_described(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                assert parameter["description"], parameter["name"]
    for name in ("NewEvent", "NewBatchEvent", "NewBatch", "NewSubscription", "SubscriptionChange", "Replay"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False


def test_the_limits_are_in_the_document(operations: dict[str, dict[str, Any]]) -> None:
    limits = {one["name"]: one["schema"] for one in operations["listSyncEvents"]["parameters"]}
    assert (limits["limit"]["minimum"], limits["limit"]["maximum"], limits["limit"]["default"]) == (1, 1000, 10)
    assert (limits["offset"]["minimum"], limits["offset"]["default"]) == (0, 0)
    assert (limits["created_after"]["type"], limits["created_after"]["format"]) == ("string", "date-time")
    assert limits["processed"]["type"] == "boolean"
    assert limits["event_type"]["$ref"] == "#/components/schemas/EventType"


def test_making_the_document_again_changes_nothing(document: dict[str, Any]) -> None:
    app = create_app(Settings(_env_file=None))
    assert app.openapi() == app.openapi() == document


def test_the_description_is_the_setting_and_how_to_use_the_api() -> None:
    document = create_app(Settings(_env_file=None, api_description="Mine")).openapi()
    assert document["info"]["description"].startswith("Mine\n")
    assert "431" in document["info"]["description"]
    assert document["servers"] == [{"url": "/", "description": "This service"}]


@on_sqlite
async def test_the_document_is_served_without_a_token(anonymous: httpx.AsyncClient) -> None:
    served = await anonymous.get("/openapi.json")
    assert served.headers["Content-Type"] == "application/json"
    assert set(STATUSES) == {one["operationId"] for path in served.json()["paths"].values() for one in path.values()}
