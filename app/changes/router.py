"""The routes of the change feed."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, ConfigDict, Field

from app.auth.dependencies import Reader
from app.auth.route import AuthenticatedRoute
from app.changes.cursor import (
    ChangeFilter,
    CursorAhead,
    CursorGone,
    CursorInvalid,
    CursorOfLostEvent,
    CursorOfOtherFilter,
    CursorOfOtherLedger,
)
from app.changes.service import ChangeService, TooManyFollowers
from app.errors import FieldError, Unprocessable
from app.events.models import EventType
from app.events.schemas import PAGE_MAX_EVENTS, PENDING_EVENT, EventView
from app.http.dependencies import CurrentPageMemory, from_state
from app.http.middleware import cancel_on_disconnect
from app.http.openapi import documented
from app.http.pages import PageResponse
from app.http.types import QueryInteger, Uuid, examples

MAX_WAIT_SECONDS = 60

_BEGINNING = "AQAAAAAAAAAAsDODTOeDmniPlNanC_8h0Zuo"
_CURSOR = "AgAAAAAAAAABsDODTOeDmniPlNanP20qG0xdyHF6VgNK"
_PAGE: dict[str, Any] = {
    "changes": [PENDING_EVENT],
    "cursor": _CURSOR,
    "has_more": False,
    "head_position": 1,
    "from_position": 1,
    "to_position": 1,
}
_STREAM = f"""\
id: {_BEGINNING}
retry: 1024

event: change
data: {json.dumps(PENDING_EVENT, separators=(",", ":"))}
id: {_CURSOR}

: keep-alive
id: {_CURSOR}

event: reconnect
data: {{"reason": "token-expired"}}
id: {_CURSOR}

"""
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

CURSOR_ERRORS = (
    CursorInvalid(),
    CursorOfOtherFilter(),
    CursorOfOtherLedger(),
    CursorAhead(),
    CursorGone(41, _CURSOR),
    CursorOfLostEvent(1, _BEGINNING),
)

router = APIRouter(prefix="/changes", tags=["changes"], route_class=AuthenticatedRoute)


Changes = Annotated[ChangeService, from_state("changes")]


class FollowQuery(BaseModel):
    """The filter and the cursor of a request."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(
        None,
        description="The `cursor` of an earlier response, with the same filter. Without one the feed begins with the "
        "oldest event; `latest` begins after the newest.",
    )
    event_type: Annotated[list[EventType], Field(max_length=len(EventType))] = Field(
        [], description="Only changes of this type; repeat the parameter for several types."
    )
    file_id: Uuid | None = Field(None, description="Only changes of this file.")

    def change_filter(self) -> ChangeFilter:
        return ChangeFilter(frozenset(self.event_type), self.file_id)


class ChangesQuery(FollowQuery):
    """The filter, the cursor, the size of the page and the wait of a request."""

    limit: QueryInteger = Field(100, ge=1, le=PAGE_MAX_EVENTS, description="Maximum number of changes in the page.")
    wait: QueryInteger = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for a change when there is none: the response comes with the first change, or "
        "empty at the end of the wait.",
    )


class ChangePage(BaseModel):
    """All matching changes of the positions from `from_position` to `to_position`, in order."""

    model_config = examples(_PAGE)

    changes: list[EventView] = Field(
        description="The events, in the order of their positions, which are consecutive without a filter."
    )
    cursor: str = Field(
        description="Send it to continue after this page. It is opaque, and valid as long as the ledger keeps the "
        "events after it."
    )
    has_more: bool = Field(
        description="Whether the ledger continues after `to_position`: request the next page immediately."
    )
    head_position: int = Field(
        description="The last position of the ledger at the time of the response; 0 while it is empty."
    )
    from_position: int = Field(
        description="First position that the page covers: the position after the cursor of the request."
    )
    to_position: int = Field(
        description="Last position that the page covers; `from_position - 1` when there is nothing new."
    )


async def take_follower_slot(request: Request, changes: Changes) -> AsyncIterator[None]:
    """Hold a follower slot for a stream until its last byte is sent or its client disconnects.

    Raises:
        ConcurrencyLimited: 429.
        TooManyFollowers: 503.
    """
    async with changes.follower_slot("stream"):
        request.state.open_request.become_long_lived()
        yield


async def get_last_event_id(
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(description="The `id` of the last message: the stream continues after it, and `cursor` is ignored."),
    ] = None,
) -> str | None:
    """The `Last-Event-ID` of the request; None when it is missing or empty.

    Raises:
        Unprocessable: 422 when the header was sent more than once.
        CursorInvalid: 400 for `latest`, which is not the id of a message.
    """
    if last_event_id == "latest":
        raise CursorInvalid
    if len(request.headers.getlist("last-event-id")) > 1:
        error = FieldError(loc=["header", "last-event-id"], msg="Send this header once", type="header_repeated")
        raise Unprocessable("The header Last-Event-ID was sent more than once.", errors=[error])
    return last_event_id or None


StreamSlot = Annotated[None, Depends(take_follower_slot, scope="request")]
LastEventId = Annotated[str | None, Depends(get_last_event_id)]


@router.get(
    "",
    operation_id="listChanges",
    summary="List changes",
    response_model=ChangePage,
    responses=documented(200, "A page of changes, oldest first.", *CURSOR_ERRORS, TooManyFollowers()),
)
async def list_changes(
    request: Request,
    query: Annotated[ChangesQuery, Query()],
    _reader: Reader,
    changes: Changes,
    memory: CurrentPageMemory,
) -> Response:
    """Events in the order of their positions, after a cursor.

    A page covers every position from `from_position` to `to_position`: events in this range that it does not list
    do not match the filter. With a filter a page may be short or empty although `has_more` is true, and a page of long
    events ends early at about 1 MiB.
    """
    change_filter = query.change_filter()
    page = await changes.read_page(query.cursor, change_filter, limit=query.limit)
    if query.wait and not page.changes:
        async with changes.follower_slot("long_poll"):
            request.state.open_request.become_long_lived()
            waiting = changes.wait_for_page(page, change_filter, limit=query.limit, wait_seconds=query.wait)
            page = await cancel_on_disconnect(request, waiting)
    return PageResponse(memory, page.encoded)


@router.get(
    "/stream",
    operation_id="streamChanges",
    summary="Stream changes",
    response_class=Response,  # with EventSourceResponse FastAPI would encode every message again for every stream
    responses={
        **documented(200, "", *CURSOR_ERRORS, TooManyFollowers()),
        200: {
            "description": "Server-sent events, until the client leaves, the token expires or the process ends.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _STREAM}},
        },
    },
)
async def stream_changes(
    query: Annotated[FollowQuery, Query()],
    last_event_id: LastEventId,
    reader: Reader,
    changes: Changes,
    _slot: StreamSlot,
) -> EventSourceResponse:
    """The change feed as server-sent events: `change` with the event in `data` and its cursor in `id`.

    The stream ends with `reconnect` when the token expires or the process stops; connect again with the last `id` as
    `Last-Event-ID`. A message with only an `id`, or with a comment, means that no event up to it matches the filter.
    """
    messages = await changes.open_stream(last_event_id or query.cursor, query.change_filter(), reader)
    return EventSourceResponse(messages, headers=STREAM_HEADERS)
