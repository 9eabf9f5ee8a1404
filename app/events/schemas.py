"""Events as JSON, in requests and responses."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.events.group import encode_metadata
from app.events.models import Anomaly, EventType
from app.http.types import (
    MAX_AT_ONCE,
    MAX_EXACT_INTEGER,
    Input,
    QueryBoolean,
    QueryInteger,
    QueryPosition,
    QueryTimestamp,
    RowId,
    Uuid,
    examples,
)

EVENT_ID = "019376a4-9c1e-7b52-8f0e-3f6d2a1b4c5d"
FILE_ID = "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"
OTHER_FILE_ID = "c2a9d6b4-8f31-4e57-b1d0-5e6a7c8f9b02"

UPLOAD: dict[str, JsonValue] = {
    "file_id": FILE_ID,
    "event_type": "upload",
    "metadata": {"path": "reports/2026.pdf", "size": 5242880},
}
UPDATE: dict[str, JsonValue] = {
    "file_id": FILE_ID,
    "event_type": "update",
    "metadata": {"path": "reports/2026-final.pdf", "previous_path": "reports/2026.pdf", "tags": ["final"]},
}
DELETE: dict[str, JsonValue] = {"file_id": FILE_ID, "event_type": "delete"}
PENDING_EVENT: dict[str, JsonValue] = {
    "event_id": EVENT_ID,
    **UPLOAD,
    "created_at": "2026-01-15T10:30:00Z",
    "processed": False,
    "processed_at": None,
    "position": 1,
    "created_by": "chunker@clients",
    "anomaly": None,
    "state": "pending",
    "attempts": 0,
    "last_error": None,
}
PROCESSED_EVENT: dict[str, JsonValue] = {
    **PENDING_EVENT,
    "processed": True,
    "processed_at": "2026-01-15T10:30:04.212Z",
    "state": "processed",
}

EVENT_BODIES: dict[str, Any] = {
    "upload": {"summary": "A file was uploaded", "value": UPLOAD},
    "update": {"summary": "The file was renamed; metadata is free JSON", "value": UPDATE},
    "delete": {"summary": "The file is to be deleted", "value": DELETE},
}
BATCH_BODIES: dict[str, Any] = {
    "batch": {"summary": "The life of a file", "value": {"events": [UPLOAD, UPDATE, DELETE]}},
    "idempotent": {
        "summary": "Two files, with keys: sent again, it records nothing",
        "value": {
            "events": [
                {**UPLOAD, "idempotency_key": f"{FILE_ID}-1"},
                {"file_id": OTHER_FILE_ID, "event_type": "upload", "idempotency_key": f"{OTHER_FILE_ID}-1"},
            ]
        },
    },
}


METADATA_MAX_BYTES = 16_384
METADATA_MAX_LEVELS = 32
BATCH_MAX_EVENTS = 1000
PAGE_MAX_EVENTS = 1000


def _encode(metadata: Any) -> str:
    if not isinstance(metadata, dict):
        raise PydanticCustomError("dict_type", "Input should be a valid dictionary")
    for item in metadata.values():
        if isinstance(item, (dict, list)):
            if _levels(metadata) > METADATA_MAX_LEVELS:
                raise PydanticCustomError("metadata_depth", "Metadata may be nested at most 32 levels deep")
            break
    text = encode_metadata(metadata)
    if len(text) > METADATA_MAX_BYTES or (not text.isascii() and len(text.encode()) > METADATA_MAX_BYTES):
        raise PydanticCustomError("metadata_size", "Metadata may take at most 16384 bytes as compact JSON")
    return text


def _levels(value: dict[str, Any]) -> int:
    """How deep containers nest: `{}` is 1, `{"a": [1]}` is 2. Looks one level beyond the limit at the most."""
    level = 0
    containers: list[Any] = [value]
    while containers and level <= METADATA_MAX_LEVELS:
        level += 1
        inner = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]
        containers = [item for item in inner if isinstance(item, (dict, list))]
    return level


Metadata = Annotated[
    str,
    BeforeValidator(_encode),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
IdempotencyKeyText = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7E]{1,255}$")]


class NewEvent(Input):
    """One event to record."""

    model_config = examples(UPLOAD)

    file_id: Uuid = Field(description="The file of the event.")
    event_type: EventType = Field(
        description="`upload`: upload completed; `update`: content or metadata changed; `delete`: deletion requested."
    )
    metadata: Metadata | None = Field(
        None, description="Free JSON object kept with the event: at most 16 KiB as compact JSON, 32 levels."
    )


class NewBatchEvent(NewEvent):
    """One event of a batch, with its own idempotency key."""

    idempotency_key: IdempotencyKeyText | None = Field(
        None,
        description="Like the header `Idempotency-Key` of a single event: 1 to 255 visible ASCII characters.",
    )


class NewBatch(Input):
    """Events to record together, all or nothing."""

    model_config = examples(BATCH_BODIES["batch"]["value"])

    events: list[NewBatchEvent] = Field(min_length=1, max_length=BATCH_MAX_EVENTS)


CREATED_MESSAGE: Final = "Sync event created successfully"


class EventCreated(BaseModel):
    """The event is committed and flushed to disk."""

    model_config = examples({"message": CREATED_MESSAGE, "event_id": EVENT_ID})

    message: Literal["Sync event created successfully"] = CREATED_MESSAGE
    event_id: UUID


class BatchCreated(BaseModel):
    """All events are committed and flushed to disk; ids are in the order of the request."""

    model_config = examples(
        {
            "message": "Sync events created successfully",
            "event_ids": [EVENT_ID, EVENT_ID[:-1] + "e", EVENT_ID[:-1] + "f"],
        }
    )

    message: Literal["Sync events created successfully"] = "Sync events created successfully"
    event_ids: list[UUID]


ProcessingState = Literal["pending", "processed", "retrying", "waiting", "failed"]


class EventView(BaseModel):
    """One recorded event."""

    model_config = examples(PROCESSED_EVENT)

    event_id: UUID
    file_id: UUID
    event_type: EventType
    created_at: datetime = Field(description="Never earlier than `created_at` of a lower position.")
    processed: bool
    processed_at: datetime | None
    metadata: dict[str, Any] | None
    position: int = Field(description="Position in the ledger: 1, 2, 3, … without a gap.")
    created_by: str = Field(description="Subject of the token that posted the event.")
    anomaly: Anomaly | None = Field(
        description="Why the event does not fit the earlier events of its file. Set once the event is processed."
    )
    state: ProcessingState = Field(
        description="`pending`: not yet swept; `processed`; `retrying`: failed, gets another attempt; `waiting`: for "
        "an earlier event of its file that is being retried; `failed`: set aside until it is requeued."
    )
    attempts: int = Field(description="Failed attempts to process the event.")
    last_error: str | None = Field(description="Why the last attempt failed.")


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: QueryInteger = Field(10, ge=1, le=PAGE_MAX_EVENTS, description="Number of events to return.")
    offset: QueryInteger = Field(
        0, ge=0, le=MAX_EXACT_INTEGER, description="Number of events to skip; at most 10000 beside a filter."
    )


class HistoryQuery(PageQuery):
    """Which events of a file, oldest first."""

    after_position: QueryPosition | None = Field(None, description="Only events above this position, as `Link` has it.")


class EventFilter(BaseModel):
    """Which events; None means any."""

    event_type: EventType | None = Field(None, description="Only events of this type.")
    processed: QueryBoolean | None = Field(None, description="Only events that are, or are not yet, processed.")
    file_id: Uuid | None = Field(None, description="Only events of this file.")
    created_after: QueryTimestamp | None = Field(None, description="Only events later than this RFC 3339 time.")
    created_before: QueryTimestamp | None = Field(None, description="Only events earlier than this RFC 3339 time.")
    anomaly: QueryBoolean | None = Field(None, description="Only events that have, or do not have, an anomaly.")
    state: ProcessingState | None = Field(
        None, description="Only events in this state; `failed`: set aside by the sweep."
    )


class NewestQuery(PageQuery):
    """Which part of a list that begins with the newest event."""

    before_position: RowId | None = Field(None, description="Only events below this position, as `Link` has it.")


class EventQuery(EventFilter, NewestQuery):
    """Which events, newest first."""


class RequeueFilter(Input):
    """Which set-aside events; a member that is left out matches any."""

    event_ids: Annotated[list[Uuid], Field(min_length=1, max_length=MAX_AT_ONCE)] | None = None
    last_error: str | None = Field(None, description="The whole `last_error` of the events.")
    event_type: EventType | None = None
    file_id: Uuid | None = None
