"""File states and histories over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.auth.dependencies import Reader
from app.auth.route import AuthenticatedRoute
from app.deliveries.repository import ProgressRepository
from app.errors import NotFound
from app.events.listing import EventList, check_offset
from app.events.repository import EventRepository
from app.events.schemas import FILE_ID, EventView, HistoryQuery
from app.files.repository import FileRepository
from app.files.schemas import FileView
from app.http.dependencies import LINK_HEADER, CurrentDatabase, CurrentPageMemory, page_links
from app.http.openapi import documented
from app.http.pages import PageResponse
from app.http.types import Uuid


class FileUnknown(NotFound):
    detail = "No event names this file."


router = APIRouter(prefix="/files", tags=["files"], route_class=AuthenticatedRoute)

FileId = Annotated[Uuid, Path(description="The `file_id` that events name.", examples=[FILE_ID])]


@router.get(
    "/{file_id:uuid}",
    operation_id="getFile",
    summary="Get the state of a file",
    responses=documented(200, "The file.", FileUnknown()),
)
async def get_file(file_id: FileId, _reader: Reader, database: CurrentDatabase) -> FileView:
    """The file's state, derived from its processed events, what is pending, and each subscription's progress."""
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
        page = await EventList(connection, through).history(
            file_id, limit=query.limit, offset=query.offset, after=query.after_position, memory=memory
        )
        if not page.events and not await EventRepository(connection, through).file_is_known(file_id):
            raise FileUnknown
    following = page.following.query("after_position") if page.following else None
    links = page_links(
        request, limit=query.limit, offset=query.offset, has_next=following is not None, following=following
    )
    return PageResponse(memory, page.encode(), page.slices(database, memory), links)
