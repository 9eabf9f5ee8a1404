"""The messages to subscribers, as the `webhooks` of the OpenAPI document."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.errors import phrase
from app.events.models import EventType

REFERENCE = "#/components/schemas/{model}"
_SLOW_DOWN = "The subscriber has too much to do: nothing is sent to it until `Retry-After`, else for a growing time."
_RESPONSES = {
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


def webhook_schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for model in (EventMessage, PingMessage):
        schema = model.model_json_schema(ref_template=REFERENCE)
        schemas |= schema.pop("$defs")
        schemas[model.__name__] = schema
    return schemas


def webhooks() -> dict[str, Any]:
    """The requests that the service sends to its subscribers."""
    return {
        "event": _request(
            EventMessage,
            "receiveEvent",
            "An event",
            "Sent for each event that the subscription wants, at least once, in order per file. Respond within "
            "`WEBHOOK_TIMEOUT`, and do the work later. Ignore unknown members.",
        ),
        "ping": _request(
            PingMessage,
            "receivePing",
            "A test of a subscription",
            "Sent by `POST /subscriptions/{subscription_id}/test`, once.",
        ),
    }


def _request(model: type[BaseModel], operation_id: str, summary: str, description: str) -> dict[str, Any]:
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
                for status, text in _RESPONSES.items()
            },
        }
    }


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": description, "schema": schema}
