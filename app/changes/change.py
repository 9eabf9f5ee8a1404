"""One event as the feed hands it out: encoded once, whoever and however many read it."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, func

from app.database.json_text import json_text
from app.events.models import SyncEvent
from app.events.schemas import EventView


class Change(NamedTuple):
    """An event at its position; `json` is the event as everywhere (`EventView`), at the moment it was read."""

    position: int
    event_type: str
    file_id: UUID
    json: str


_OTHERS: dict[str, ColumnElement[Any]] = {
    "event_id": SyncEvent.id.expression,
    "metadata": SyncEvent.event_metadata.expression,
    "state": case((SyncEvent.processed, "processed"), else_=func.coalesce(SyncEvent.retry_state, "pending")),
}
_members = {name: _OTHERS[name] if name in _OTHERS else getattr(SyncEvent, name) for name in EventView.model_fields}

# The columns of a `Change`, in its order.
COLUMNS: tuple[ColumnElement[Any], ...] = (
    SyncEvent.position.expression,
    SyncEvent.event_type.expression,
    SyncEvent.file_id.expression,
    json_text(_members).label("json"),
)
