"""What the routes of the feed ask for."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Request

from app.changes.errors import CursorInvalid
from app.changes.service import ChangeService
from app.errors import FieldError, Unprocessable


async def get_service(request: Request) -> ChangeService:
    """The process's feed, built by the lifespan."""
    service: ChangeService = request.state.changes
    return service


async def take_place(request: Request, changes: Annotated[ChangeService, Depends(get_service)]) -> AsyncIterator[None]:
    """A place for a stream, until the last of it is sent or its reader is gone.

    Raises:
        TooManyFollowers: 503.
    """
    with changes.place("stream"):
        request.state.open_request.become_long_lived()
        yield


async def get_last_event_id(
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(description="The `id` of the last message: the stream goes on after it, whatever `cursor` says."),
    ] = None,
) -> str | None:
    """The one `Last-Event-ID` of the request; None when it is empty, which means that there was none.

    Raises:
        Unprocessable: 422 when the header was sent more than once.
        CursorInvalid: 400 for `latest`, which is no id of a message.
    """
    if last_event_id == "latest":
        raise CursorInvalid
    if len(request.headers.getlist("last-event-id")) > 1:
        error = FieldError(loc=["header", "last-event-id"], msg="Send this header once", type="header_repeated")
        raise Unprocessable("The header Last-Event-ID was sent more than once.", errors=[error])
    return last_event_id or None


Changes = Annotated[ChangeService, Depends(get_service)]
StreamPlace = Annotated[None, Depends(take_place, scope="request")]
LastEventId = Annotated[str | None, Depends(get_last_event_id)]
