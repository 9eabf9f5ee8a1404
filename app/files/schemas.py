"""A file's state as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.deliveries.repository import FileProgress
from app.events.models import EventType
from app.files.models import FileState

VIEW_EXAMPLE: dict[str, JsonValue] = {
    "file_id": "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11",
    "state": "present",
    "revision": 1,
    "last_event_id": "019376a4-9c1e-7b52-8f0e-3f6d2a1b4c5d",
    "last_event_type": "upload",
    "last_position": 1,
    "pending_events": 0,
    "updated_at": "2026-01-15T10:30:00Z",
    "subscriptions": [
        {
            "subscription_id": "019376a5-3b70-7c1e-a2d4-5e6f7a8b9c0d",
            "status": "active",
            "delivered_position": 1,
            "pending": 0,
            "dead": 0,
            "behind": False,
        }
    ],
}


class FileSubscription(BaseModel):
    """The progress of a subscription with the file."""

    model_config = ConfigDict(from_attributes=True)

    subscription_id: UUID
    status: Literal["active", "paused", "disabled"]
    delivered_position: int | None = Field(
        description="Position of the last event of the file that was delivered, before the first that is pending."
    )
    pending: int = Field(description="Deliveries that wait or are under way, counted up to 1001.")
    dead: int = Field(description="Deliveries that used up their attempts, counted up to 1001.")
    behind: bool = Field(
        description="Whether the file has events without a delivery yet: the subscription is not active, or is "
        "catching up, or so many deliveries of the file wait that the rest is left in the ledger."
    )


class FileView(BaseModel):
    """The file's state, derived from its processed events."""

    model_config = ConfigDict(json_schema_extra={"examples": [VIEW_EXAMPLE]})

    file_id: UUID
    state: Literal["present", "deleted", "unknown"] = Field(
        description="`unknown` while the file's first event is unprocessed."
    )
    revision: int = Field(description="Number of processed events of the file.")
    last_event_id: UUID | None = Field(description="The processed event of the highest position.")
    last_event_type: EventType | None
    last_position: int | None
    pending_events: int = Field(
        description="Events of the file that are not processed yet, or set aside, counted up to 10000."
    )
    updated_at: datetime | None = Field(description="When the last processed event was recorded.")
    subscriptions: list[FileSubscription] = Field(
        description="The progress of each subscription, whether or not it matches events of this type."
    )

    @classmethod
    def of(
        cls,
        file_id: UUID,
        state: FileState | None,
        pending_events: int,
        progress: Sequence[FileProgress],
    ) -> Self:
        """The view of a file; `state` is None while none of its events is processed."""
        subscriptions = [FileSubscription.model_validate(one) for one in progress]
        if state is None:
            return cls(
                file_id=file_id,
                state="unknown",
                revision=0,
                last_event_id=None,
                last_event_type=None,
                last_position=None,
                pending_events=pending_events,
                updated_at=None,
                subscriptions=subscriptions,
            )
        return cls(
            file_id=file_id,
            state="deleted" if state.last_event_type == EventType.DELETE else "present",
            revision=state.revision,
            last_event_id=state.last_event_id,
            last_event_type=EventType(state.last_event_type),
            last_position=state.last_position,
            pending_events=pending_events,
            updated_at=state.updated_at,
            subscriptions=subscriptions,
        )
