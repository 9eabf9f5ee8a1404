"""File states and histories over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.auth.dependencies import Reader
from app.auth.route import AuthenticatedRoute
from app.deliveries.history import FileProgress, ProgressRepository
from app.errors import NotFound
from app.events.listing import EventList, check_offset
from app.events.models import EventType
from app.events.repository import EventRepository
from app.events.schemas import EVENT_ID, FILE_ID, EventView, HistoryQuery
from app.files.models import FileState
from app.files.repository import FileRepository
from app.http.dependencies import LINK_HEADER, CurrentDatabase, CurrentPageMemory, page_links
from app.http.openapi import documented
from app.http.pages import PageResponse
from app.http.types import Uuid, examples
from app.subscriptions.schemas import SUBSCRIPTION_ID, Status

router = APIRouter(prefix="/files", tags=["files"], route_class=AuthenticatedRoute)

FileId = Annotated[Uuid, Path(description="The `file_id` that events name.", examples=[FILE_ID])]
_VIEW: dict[str, JsonValue] = {
    "file_id": FILE_ID,
    "state": "present",
    "revision": 1,
    "last_event_id": EVENT_ID,
    "last_event_type": "upload",
    "last_position": 1,
    "pending_events": 0,
    "updated_at": "2026-01-15T10:30:00Z",
    "subscriptions": [
        {
            "subscription_id": SUBSCRIPTION_ID,
            "status": "active",
            "delivered_position": 1,
            "pending": 0,
            "dead": 0,
            "behind": False,
        }
    ],
}


class FileUnknown(NotFound):
    detail = "No event names this file."


class FileSubscription(BaseModel):
    """The progress of a subscription with the file."""

    model_config = ConfigDict(from_attributes=True)

    subscription_id: UUID
    status: Status
    delivered_position: int | None = Field(
        description="Position of the last event of the file that was delivered, before the first that is pending."
    )
    pending: int = Field(description="Deliveries that wait or are under way, counted up to 1001.")
    dead: int = Field(description="Deliveries that used up their attempts, counted up to 1001.")
    behind: bool = Field(
        description="Whether the file has events without a delivery yet: the subscription is not active, or is "
        "catching up, or so many deliveries of the file wait that the rest is left in the ledger."
    )


class FileView(BaseModel):
    """The file's state, derived from its processed events."""

    model_config = examples(_VIEW)

    file_id: UUID
    state: Literal["present", "deleted", "unknown"] = Field(
        description="`unknown` while the file's first event is unprocessed."
    )
    revision: int = Field(description="Number of processed events of the file.")
    last_event_id: UUID | None = Field(description="The processed event of the highest position.")
    last_event_type: EventType | None
    last_position: int | None
    pending_events: int = Field(
        description="Events of the file that are not processed yet, or set aside, counted up to 10000."
    )
    updated_at: datetime | None = Field(description="When the last processed event was recorded.")
    subscriptions: list[FileSubscription] = Field(
        description="The progress of each subscription, whether or not it matches events of this type."
    )

    @classmethod
    def of(cls, file_id: UUID, state: FileState | None, pending_events: int, progress: Sequence[FileProgress]) -> Self:
        """The view of a file; `state` is None while none of its events is processed."""
        return cls(
            file_id=file_id,
            state="unknown" if state is None else "deleted" if state.last_event_type == EventType.DELETE else "present",
            revision=state.revision if state else 0,
            last_event_id=state and state.last_event_id,
            last_event_type=state and EventType(state.last_event_type),
            last_position=state and state.last_position,
            pending_events=pending_events,
            updated_at=state and state.updated_at,
            subscriptions=[FileSubscription.model_validate(one) for one in progress],
        )


@router.get(
    "/{file_id:uuid}",
    operation_id="getFile",
    summary="Get the state of a file",
    responses=documented(200, "The file.", FileUnknown()),
)
async def get_file(file_id: FileId, _reader: Reader, database: CurrentDatabase) -> FileView:
    """The state of the file by its processed events, the number of the others, and each subscription's progress."""
    watermark, last_position = database.watermark, 0
    async with database.read() as session:
        state, pending = await FileRepository(session).find(file_id)
        if state is None and not pending:
            raise FileUnknown
        view = FileView.of(file_id, state, pending, await ProgressRepository(session).list_of_file(file_id))
        if watermark.active:
            last_position = await EventRepository(session).get_last_position(file_id)
    await watermark.reach(last_position)
    return view


@router.get(
    "/{file_id:uuid}/events",
    operation_id="listFileEvents",
    summary="List the history of a file",
    response_model=list[EventView],
    responses=documented(200, "A page of the file's events, oldest first.", FileUnknown(), headers=LINK_HEADER),
)
async def list_file_events(
    request: Request,
    file_id: FileId,
    query: Annotated[HistoryQuery, Query()],
    _reader: Reader,
    memory: CurrentPageMemory,
    database: CurrentDatabase,
) -> Response:
    """Everything that happened to the file, oldest first. The `Link` header leads to the next page."""
    check_offset(query.offset)
    through = await database.watermark.bound()
    async with database.connection() as connection:
        page = await EventList(connection, through, memory).history(
            file_id, limit=query.limit, offset=query.offset, after=query.after_position
        )
        if not page.events and not await EventRepository(connection, through).file_is_known(file_id):
            raise FileUnknown
    following = page.following.query("after_position") if page.following else None
    links = page_links(
        request, limit=query.limit, offset=query.offset, has_next=following is not None, following=following
    )
    return PageResponse(memory, page.encode(), page.slices(database, memory), links)
