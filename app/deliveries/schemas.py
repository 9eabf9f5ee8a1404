"""Deliveries as JSON."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.deliveries.history import MAX_ATTEMPTS
from app.events.models import EventType
from app.events.schemas import EVENT_ID, FILE_ID
from app.http.types import MAX_AT_ONCE, BodyRowId, BulkRequest, Input, QueryInteger, RowId, Uuid, examples
from app.subscriptions.models import DeliveryStatus, Outcome
from app.subscriptions.schemas import SUBSCRIPTION_ID

_DELIVERY: dict[str, Any] = {
    "id": 42,
    "subscription_id": SUBSCRIPTION_ID,
    "event_id": EVENT_ID,
    "file_id": FILE_ID,
    "event_type": "upload",
    "position": 42,
    "status": "pending",
    "attempts": 1,
    "last_outcome": "failed",
    "sending": False,
    "next_attempt_at": "2026-01-15T10:31:07.1Z",
    "created_at": "2026-01-15T10:31:02.5Z",
    "settled_at": None,
}
_ATTEMPT: dict[str, Any] = {
    "number": 1,
    "started_at": "2026-01-15T10:31:02.6Z",
    "duration_ms": 12,
    "outcome": "failed",
    "status_code": 500,
    "response": "no space left on device",
    "error": None,
}
_PING: dict[str, Any] = {"outcome": "delivered", "status_code": 200, "duration_ms": 38, "response": "ok", "error": None}

MAX_OFFSET = 1_000_000  # 422 of `check_offset` comes first where there may be more than 10,000


class DeliveryView(BaseModel):
    """One event for one subscription."""

    model_config = ConfigDict(from_attributes=True, **examples(_DELIVERY))

    id: int
    subscription_id: UUID
    event_id: UUID = Field(description="The event; its id is the `webhook-id` of every attempt.")
    event_type: EventType
    file_id: UUID
    position: int = Field(description="The event's position in the ledger.")
    status: DeliveryStatus = Field(description="`dead`: it used up its attempts.")
    attempts: int = Field(description="Attempts since it became pending.")
    last_outcome: Outcome | None = Field(description="How the last attempt ended; null before the first.")
    sending: bool = Field(description="Whether an attempt is under way.")
    next_attempt_at: datetime | None = Field(
        description="When it may be sent; null when it is settled, being sent, or waits for an earlier event of its "
        "file."
    )
    created_at: datetime = Field(description="When it became pending; a redelivery or a replay sets it again.")
    settled_at: datetime | None = Field(description="When it was delivered or died.")


class AttemptView(BaseModel):
    """One request to the subscriber and its result."""

    model_config = ConfigDict(from_attributes=True, **examples(_ATTEMPT))

    number: int = Field(description="1, 2, 3, …; a redelivery starts again at 1.")
    started_at: datetime
    duration_ms: int
    outcome: Outcome
    status_code: int | None = Field(description="Null: there was no response.")
    response: str | None = Field(description="The first KiB of the response body, as printable text.")
    error: str | None = Field(description="Why there was no response.")


class DeliveryWithHistory(DeliveryView):
    """A delivery with its attempts."""

    model_config = examples({**_DELIVERY, "history": [_ATTEMPT]})

    history: list[AttemptView] = Field(
        description=f"Every attempt that is still kept, the newest first, at most {MAX_ATTEMPTS}."
    )


class RedeliveryResult(BaseModel):
    """The deliveries that are pending again."""

    model_config = examples({"redelivered": 7, "has_more": False})

    redelivered: int = Field(description="Deliveries that were dead and are pending again.")
    has_more: bool = Field(description="Whether there may be more: send the request again.")


class RedeliveryFilter(Input):
    """A filter of dead deliveries; an absent member matches any."""

    delivery_ids: Annotated[list[BodyRowId], Field(min_length=1, max_length=MAX_AT_ONCE)] | None = None
    file_id: Uuid | None = None


class BulkRedelivery(BulkRequest):
    """The dead deliveries to retry, and their number."""

    model_config = examples(
        {"filter": {"file_id": FILE_ID}, "up_to_position": 4211, "expected": 7},
        {"filter": {"delivery_ids": [42]}, "up_to_position": 4211, "expected": 1},
    )

    filter: RedeliveryFilter = Field(description="The matching dead deliveries are retried.")


class BulkRedelivered(BaseModel):
    """The number of deliveries that are pending again."""

    model_config = examples({"redelivered": 7})

    redelivered: int


class DeliveryPageQuery(BaseModel):
    """A part of a list of deliveries."""

    limit: QueryInteger = Field(10, ge=1, le=1000, description="Number of deliveries to return.")
    offset: QueryInteger = Field(0, ge=0, le=MAX_OFFSET, description="Number of deliveries to skip.")


class DeliveryQuery(DeliveryPageQuery):
    """A part of the list of a subscription's deliveries, newest first."""

    before_position: RowId | None = Field(None, description="Only of events below this position, as `Link` has it.")
    status: DeliveryStatus | None = Field(None, description="Only deliveries in this status.")
    file_id: Uuid | None = Field(None, description="Only deliveries of this file.")


class PingResult(BaseModel):
    """The result of a ping."""

    model_config = examples(_PING)

    outcome: Outcome
    status_code: int | None = Field(description="Null: there was no response.")
    duration_ms: int
    response: str = Field(description="The first KiB of the response body, as printable text.")
    error: str | None = Field(description="Why there was no response.")
