"""JSON that the database writes is what the API writes, on both databases."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select

from app.changes.repository import COLUMNS
from app.database.engine import Database
from app.events.models import Anomaly, SyncEvent
from app.events.schemas import EventView

INSTANTS = [
    datetime(2026, 1, 15, 10, 30, tzinfo=UTC),
    datetime(2026, 1, 15, 10, 30, 4, 212_000, tzinfo=UTC),
    datetime(1, 1, 2, 0, 0, 0, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(2026, 6, 1, 1, 2, 3, 40, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]
TEXTS = ["plain", 'a"quote', "back\\slash", "new\nline", "\x01\x1f\x7f", "ü€😀\u2028", "</script>", "'; --", "x" * 255]


def view(event: SyncEvent) -> EventView:
    return EventView.model_validate(
        {name: getattr(event, name) for name in EventView.model_fields if hasattr(event, name)}
        | {
            "event_id": event.id,
            "metadata": event.event_metadata,
            "state": "processed" if event.processed else event.retry_state or "pending",
        }
    )


@pytest.mark.parametrize("text", TEXTS)
async def test_every_member_is_as_everywhere(database: Database, text: str) -> None:
    metadata: list[Any] = [None, {}, {text: [text, None, True, -1.5e-7, 2**62]}, {"a": {"b": []}}, None]
    values = [
        {
            "id": uuid4(),
            "position": position,
            "file_id": uuid4(),
            "event_type": "update",
            "created_at": instant,
            "event_metadata": metadata[position - 1],
            "created_by": text,
            "processed": position % 2 == 0,
            "processed_at": instant if position % 2 == 0 else None,
            "retry_state": "retrying" if position == 3 else None,
            "attempts": position,
            "last_error": text,
            "anomaly": list(Anomaly)[position % len(Anomaly)] if position > 1 else None,
        }
        for position, instant in enumerate(INSTANTS, start=1)
    ]
    async with database.transaction() as session:
        await session.execute(insert(SyncEvent), values)
    async with database.read() as session:
        rows = (await session.execute(select(*COLUMNS).order_by(SyncEvent.position))).all()
        events = (await session.scalars(select(SyncEvent).order_by(SyncEvent.position))).all()
    for row, event in zip(rows, events, strict=True):
        assert json.loads(row[-1]) == json.loads(view(event).model_dump_json())
        assert tuple(row[:4]) == (event.position, event.id, event.event_type, event.file_id)
