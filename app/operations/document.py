"""The OpenAPI document beyond what FastAPI makes of the routes: texts, errors, examples, and the webhooks."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.auth.route import token_problems
from app.auth.token import Scope
from app.config import Settings
from app.errors import BUG_DETAIL, PROBLEM_JSON, Problem, ProblemError, ValidationProblem, phrase
from app.events.models import EventType
from app.http.openapi import REQUEST_ID_EXAMPLE, Responses, add_problems, body_problems

REFERENCE = "#/components/schemas/{model}"
SERVERS = [{"url": "/", "description": "This service"}]
TAGS = [  # in the order of use
    {
        "name": "events",
        "description": "Record what happened to a file, and read it back. Every event gets a `position` in the ledger: "
        "1, 2, 3, … without a gap, in the order of the commits. Events are never changed or deleted.",
    },
    {
        "name": "files",
        "description": "The state of files, derived from their processed events. An event counts once the next sweep "
        "has processed it.",
    },
    {
        "name": "changes",
        "description": "Follow the ledger: every event once, in order, none skipped. Keep the cursor of the last "
        "response.",
    },
    {
        "name": "consistency",
        "description": "Whether the services that hold the files agree with the events. All but `GET` always need "
        "`admin:sync`.",
    },
    {
        "name": "subscriptions",
        "description": "Have events POSTed to other services: at least once, signed, in order per file. "
        "These always need `admin:sync`.",
    },
    {
        "name": "deliveries",
        "description": "The deliveries of each event to each subscription, and their attempts. These always need "
        "`admin:sync`.",
    },
    {
        "name": "operations",
        "description": "Health, metrics and service information. `GET /overview` and `GET /throughput` need a token.",
    },
]
COMMON = {401: "Unauthenticated", 429: "TooManyRequests", 500: "Bug", 503: "Unavailable"}
GUIDE = """
**Trying it out.** Press *Authorize* and paste a token, without `Bearer`. In local mode `python -m app token` prints \
one; else Auth0 issues it. Then every body works as it stands; take the ids of events from the responses.

**Conventions.** Bodies are JSON in UTF-8, names in snake_case, times RFC 3339 in UTC, UUIDs in lower case. Unknown \
fields and unknown query parameters are refused. Every response carries `X-Request-ID`: yours if you sent one, else a \
new one. The log lines of the request have it too. Responses carry `Cache-Control: no-store` \
where a route sets no other value.

**Errors** are problem documents (RFC 9457, `application/problem+json`). `type` names the kind and stays the same; \
`detail` is for people, and `docs` leads to a page with cause and remedy. Beside the errors \
that each operation lists, any request can get

| status | when |
|---|---|
| 400 | the request is not valid HTTP/1.1 |
| 404, 405 | there is no such path, or not with this method |
| 408, 431 | the headers came too slowly, or are too large |

**Retries.** After 429 and 503 wait `Retry-After` seconds. After these and after a lost connection repeat the \
request with the same `Idempotency-Key`: the event is recorded once, whatever the first attempt did.
"""


_SLOW_DOWN = "The subscriber has too much to do: nothing is sent to it until `Retry-After`, else for a growing time."
_WEBHOOK_RESPONSES = {
    "2XX": "Delivered.",
    "410": "The subscriber wants no more messages: the subscription is disabled.",
    **dict.fromkeys(("429", "502", "504"), _SLOW_DOWN),
    "default": "The attempt failed and is repeated. Redirects are not followed.",
}


class _Message(BaseModel):
    specversion: Literal["1.0"]
    id: UUID = Field(description="The same at every attempt, redelivery and replay: deduplicate by it.")
    source: str = Field(description="`urn:uuid:` and the id of the ledger.")
    time: datetime
    datacontenttype: Literal["application/json"]


class EventMessageData(BaseModel):
    """The event as the ledger has it."""

    event_id: UUID
    position: int
    file_id: UUID
    event_type: EventType
    created_at: datetime
    created_by: str
    metadata: dict[str, Any] | None


class EventMessage(_Message):
    """An event, as a CloudEvent 1.0."""

    type: Literal["sync.file.upload", "sync.file.delete", "sync.file.update"]
    subject: UUID = Field(description="The file.")
    sequence: str = Field(description="The position with leading zeros, so that texts sort like positions.")
    data: EventMessageData


class PingData(BaseModel):
    """The subscription that is tested."""

    subscription_id: UUID


class PingMessage(_Message):
    """A test of a subscription, as a CloudEvent 1.0. It carries no event."""

    type: Literal["sync.ping"]
    subject: UUID = Field(description="The subscription.")
    data: PingData


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's `document` what its models do not hold; doing so again changes nothing."""
    components = document["components"]
    schemas: dict[str, Any] = components["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):  # of FastAPI's own 422
        schemas.pop(unused, None)
    schemas |= _own_schemas()
    document["webhooks"] = _webhooks()
    components["headers"] = {
        "RequestId": {
            "description": "The request's name in the logs: the caller's own `X-Request-ID` if sane, else a new one.",
            "schema": {"type": "string"},
            "example": REQUEST_ID_EXAMPLE,
        }
    }
    for schema in schemas.values():
        if "examples" in schema:
            schema["examples"] = [_with_nulls(one, schema, schemas) for one in schema["examples"]]
    components["responses"] = _common_responses()
    for operation in (one for path in document["paths"].values() for one in path.values()):
        _add_common_problems(operation)
        for status, response in operation["responses"].items():
            if "$ref" not in response:
                _complete_response(int(status), response, schemas)
        for parameter in operation.get("parameters", []):
            _complete_parameter(parameter)
    return document


def _own_schemas() -> dict[str, Any]:
    """The schemas of problems and messages, which FastAPI does not find in the routes."""
    schemas: dict[str, Any] = {}
    for model in (Problem, ValidationProblem, EventMessage, PingMessage):
        schema = model.model_json_schema(ref_template=REFERENCE)
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    return schemas


def _common_responses() -> dict[str, Any]:
    """The responses that every route with a token has, unless it has more to say about one of them itself."""
    responses: Responses = {}
    add_problems(responses, [*token_problems(Scope.READ), ProblemError(BUG_DETAIL)])
    for status in COMMON:
        _complete_response(status, responses[status], {})
    return {name: responses[status] for status, name in COMMON.items()}


def _add_common_problems(operation: dict[str, Any]) -> None:
    """The errors of every route with a body or a token, after the route's own errors."""
    responses = operation["responses"]
    if PROBLEM_JSON not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)  # FastAPI's own form of it
    if "requestBody" in operation and "413" not in responses:
        add_problems(responses, body_problems(Settings.model_fields["max_event_bytes"].default))
    problems: list[ProblemError] = [ProblemError(BUG_DETAIL)]
    if "security" in operation:
        problems += token_problems(Scope(operation["security"][0]["bearer"][0]))
    own = {int(status) for status, response in responses.items() if "$ref" not in response}
    add_problems(responses, [one for one in problems if one.status in own or one.status not in COMMON])
    of_route = {
        str(status): responses[status]
        for status in sorted(responses, key=int)
        if int(status) not in COMMON or int(status) in own
    }
    referred = sorted({one.status for one in problems if one.status in COMMON} - own)
    common = {str(status): {"$ref": f"#/components/responses/{COMMON[status]}"} for status in referred}
    operation["responses"] = of_route | common


def _complete_response(status: int, response: dict[str, Any], schemas: dict[str, Any]) -> None:
    response.setdefault("headers", {})["X-Request-ID"] = {"$ref": "#/components/headers/RequestId"}
    content = response.get("content", {}).get("application/json")
    if content is not None:
        example = _examples(content["schema"], schemas)[0 if status < HTTPStatus.BAD_REQUEST else -1]
        content["example"] = _with_nulls(example, content["schema"], schemas)


def _examples(schema: dict[str, Any], schemas: dict[str, Any]) -> list[Any]:
    """The examples of the schema that a response has; of a list, one with each of its items' examples."""
    if "items" in schema:
        return [[example] for example in _examples(schema["items"], schemas)]
    examples: list[Any] = schemas[schema["$ref"].rpartition("/")[2]]["examples"]
    return examples


def _complete_parameter(parameter: dict[str, Any]) -> None:
    parameter["schema"] = schema = _without_null(parameter["schema"])
    if "examples" in schema:
        parameter["example"] = schema.pop("examples")[0]  # where Swagger UI looks for it


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without null: a parameter cannot be sent as null, only left out."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**options[0], **rest}


def _with_nulls(example: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """The example with the nulls that FastAPI has left out, in the order of the schema."""
    schema = _without_null(schema)
    schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(example, list):
        return [_with_nulls(item, schema["items"], schemas) for item in example]
    if not isinstance(example, dict) or "properties" not in schema:
        return example
    required, properties = schema.get("required", []), schema.get("properties", {})
    return {
        name: _with_nulls(example.get(name), part, schemas)
        for name, part in properties.items()
        if name in example or name in required
    }


def _webhooks() -> dict[str, Any]:
    """The requests that the service sends to its subscribers."""
    return {
        "event": _webhook(
            EventMessage,
            "receiveEvent",
            "An event",
            "Sent for each event that the subscription wants, at least once, in order per file. Respond within "
            "`WEBHOOK_TIMEOUT`, and do the work later. Ignore unknown members.",
        ),
        "ping": _webhook(
            PingMessage,
            "receivePing",
            "A test of a subscription",
            "Sent by `POST /subscriptions/{subscription_id}/test`, once.",
        ),
    }


def _webhook(model: type[BaseModel], operation_id: str, summary: str, description: str) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {
        "post": {
            "tags": ["subscriptions"],
            "operationId": operation_id,
            "summary": summary,
            "description": f"{description} Verify the signature over the raw body, as Standard Webhooks says.",
            "security": [],
            "parameters": [
                _header("webhook-id", "The `id` of the body.", {"type": "string", "format": "uuid"}),
                _header("webhook-timestamp", "When this attempt was sent, in seconds since 1970.", {"type": "integer"}),
                _header("webhook-signature", "Signatures, separated by spaces: `v1,` and base64.", {"type": "string"}),
            ],
            "requestBody": {"required": True, "content": {"application/cloudevents+json": {"schema": schema}}},
            "responses": {
                status: {"description": f"{phrase(HTTPStatus(int(status)))}. {text}" if status.isdecimal() else text}
                for status, text in _WEBHOOK_RESPONSES.items()
            },
        }
    }


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": description, "schema": schema}
