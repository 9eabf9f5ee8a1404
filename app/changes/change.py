"""One event as the feed hands it out: encoded once, whoever and however many read it."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement

from app.events.event_json import EVENT_JSON
from app.events.models import SyncEvent


class Change(NamedTuple):
    """An event at its position; `json` is the event as everywhere (`EventView`), at the moment it was read."""

    position: int
    event_id: UUID
    event_type: str
    file_id: UUID
    json: str


# The columns of a `Change`, in its order.
COLUMNS: tuple[ColumnElement[Any], ...] = (
    SyncEvent.position.expression,
    SyncEvent.id.expression,
    SyncEvent.event_type.expression,
    SyncEvent.file_id.expression,
    EVENT_JSON.label("json"),
)
