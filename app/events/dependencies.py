"""What the event routes ask for."""

from typing import Annotated

from fastapi import Depends, Header, Request

from app.events.event_reader import EventReader
from app.events.ledger import Ledger
from app.events.schemas import IdempotencyKeyText


async def get_ledger(request: Request) -> Ledger:
    """The process's ledger, built by the lifespan."""
    ledger: Ledger = request.state.ledger
    return ledger


async def get_event_reader(request: Request) -> EventReader:
    """The process's reader of single events, built by the lifespan."""
    reader: EventReader = request.state.event_reader
    return reader


CurrentLedger = Annotated[Ledger, Depends(get_ledger)]
CurrentEventReader = Annotated[EventReader, Depends(get_event_reader)]
IdempotencyKey = Annotated[
    IdempotencyKeyText | None,
    Header(
        description="Any string that names this event among yours, 1 to 255 visible ASCII characters. A retry with "
        "the same key and body is answered as the first time and records nothing."
    ),
]
