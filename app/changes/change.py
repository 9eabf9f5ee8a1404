"""One event as the feed hands it out: encoded once, whoever and however many read it."""

from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, case, func
from typing_extensions import TypedDict

from app.events.models import EventType, SyncEvent
from app.events.schemas import EventView

# The members of `EventView`, as a plain dictionary: to build the model takes five times as long as to encode it.
_members = TypedDict("_members", {name: field.annotation for name, field in EventView.model_fields.items()})  # type: ignore[misc]  # mypy wants literal names
_encoder = TypeAdapter(_members).serializer
_types = {str(event_type): event_type for event_type in EventType}


class Change(NamedTuple):
    """An event at its position; `json` is the event as everywhere (`EventView`), at the moment it was read."""

    position: int
    event_type: str
    file_id: UUID
    json: str


def change_columns() -> list[ColumnElement[Any]]:
    """What `Change` is made of: a column for each member of `EventView`, by its name."""
    settled = case((SyncEvent.processed, "processed"), else_=func.coalesce(SyncEvent.retry_state, "pending"))
    others = {"event_id": SyncEvent.id, "metadata": SyncEvent.event_metadata, "state": settled}
    return [
        (others[name] if name in others else getattr(SyncEvent, name)).label(name) for name in EventView.model_fields
    ]


def change_of(row: Row[Any]) -> Change:
    """The change of a row of `change_columns`."""
    members = row._asdict()
    event_type = members["event_type"]
    members["event_type"] = _types[event_type]
    return Change(members["position"], event_type, members["file_id"], _encoder.to_json(members).decode())
