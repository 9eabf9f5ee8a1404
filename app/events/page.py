"""A page of events as JSON."""

import asyncio
from collections.abc import Sequence

from pydantic import TypeAdapter

from app.events.repository import EventRow
from app.events.schemas import EventView

STEP_EVENTS = 50
_VIEWS = TypeAdapter(list[EventView])


async def encode_page(events: Sequence[EventRow]) -> bytes:
    """The events as a JSON array; other requests have their turn after every 50 of them."""
    parts = []
    for start in range(0, len(events), STEP_EVENTS):
        if start:
            await asyncio.sleep(0)
        parts.append(_VIEWS.dump_json([EventView.of(event) for event in events[start : start + STEP_EVENTS]])[1:-1])
    return b"[" + b",".join(parts) + b"]"
