"""The body of a delivery: a CloudEvents 1.0 JSON document (https://cloudevents.io), structured mode."""

from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from pydantic_core import to_json

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_SEQUENCE_DIGITS = 19  # of the largest position


class RecordedEvent(Protocol):
    """What is told of an event; a row of the ledger has it."""

    @property
    def id(self) -> UUID:
        """Its id."""

    @property
    def position(self) -> int:
        """Its place in the ledger."""

    @property
    def file_id(self) -> UUID:
        """Its file."""

    @property
    def event_type(self) -> str:
        """What happened."""

    @property
    def created_at(self) -> datetime:
        """When it was recorded."""

    @property
    def created_by(self) -> str:
        """Who posted it."""

    @property
    def event_metadata(self) -> dict[str, Any] | None:
        """What was said of it."""


def file_event_type(event_type: str) -> str:
    """The CloudEvents `type` of an event of the ledger."""
    return f"sync.file.{event_type}"


def event_body(event: RecordedEvent, ledger_id: UUID) -> bytes:
    """The document of `event`: the same bytes at every attempt. `source` and `id` name the event among all ledgers.

    `sequence` is the position with leading zeros: CloudEvents' extension of this name wants texts whose order as texts
    is that of the events.
    """
    data = {
        "event_id": event.id,
        "position": event.position,
        "file_id": event.file_id,
        "event_type": event.event_type,
        "created_at": event.created_at,
        "created_by": event.created_by,
        "metadata": event.event_metadata,
    }
    return to_json(
        {
            **_attributes(event.id, ledger_id, file_event_type(event.event_type), event.created_at),
            "subject": event.file_id,
            "sequence": str(event.position).zfill(_SEQUENCE_DIGITS),
            "data": data,
        }
    )


def ping_body(message_id: UUID, ledger_id: UUID, subscription_id: UUID, at: datetime) -> bytes:
    """A document that tells of nothing, to try a subscriber out."""
    return to_json(
        {
            **_attributes(message_id, ledger_id, "sync.ping", at),
            "subject": subscription_id,
            "data": {"subscription_id": subscription_id},
        }
    )


def _attributes(message_id: UUID, ledger_id: UUID, kind: str, at: datetime) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": message_id,
        "source": f"urn:uuid:{ledger_id}",
        "type": kind,
        "time": at,
        "datacontenttype": "application/json",
    }
