"""What the event routes ask for."""

from typing import Annotated

from fastapi import Depends, Header, Request

from app.errors import FieldError, Unprocessable
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


async def get_idempotency_key(
    request: Request,
    idempotency_key: Annotated[
        IdempotencyKeyText | None,
        Header(
            description="Any string that names this event among yours, 1 to 255 visible ASCII characters. A retry with "
            "the same key and body is answered as the first time and records nothing."
        ),
    ] = None,
) -> str | None:
    """The one `Idempotency-Key` of the request.

    Raises:
        Unprocessable: 422 when the header was sent more than once.
    """
    if len(request.headers.getlist("idempotency-key")) > 1:
        error = FieldError(loc=["header", "idempotency-key"], msg="Send this header once", type="header_repeated")
        raise Unprocessable("The header Idempotency-Key was sent more than once.", errors=[error])
    return idempotency_key


CurrentLedger = Annotated[Ledger, Depends(get_ledger)]
CurrentEventReader = Annotated[EventReader, Depends(get_event_reader)]
IdempotencyKey = Annotated[str | None, Depends(get_idempotency_key)]
