"""Events as JSON, as `EventView` has it, written by the database: several times as fast as to make it of rows."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, func

from app.database.sql import json_text
from app.events.models import SyncEvent
from app.events.schemas import EventView

_OTHERS: dict[str, ColumnElement[Any]] = {
    "event_id": SyncEvent.id.expression,
    "metadata": SyncEvent.event_metadata.expression,
    "state": case((SyncEvent.processed, "processed"), else_=func.coalesce(SyncEvent.retry_state, "pending")),
}
_members = {name: _OTHERS[name] if name in _OTHERS else getattr(SyncEvent, name) for name in EventView.model_fields}

# The text of an event, at the moment it is read.
EVENT_JSON = json_text(_members)


def encode_page(events: Sequence[str]) -> bytes:
    """Events as a JSON array."""
    return b"[%b]" % b",".join([event.encode() for event in events])
