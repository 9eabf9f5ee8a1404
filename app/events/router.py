"""Events in, events out."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response, status
from structlog.contextvars import bind_contextvars
from uuid_utils.compat import uuid7

from app.auth.dependencies import Operator, Reader, Writer
from app.auth.principal import Principal
from app.auth.route import AuthenticatedRoute, BatchRoute, DirectRoute
from app.errors import Conflict
from app.events import openapi
from app.events.dependencies import CurrentEventReader, CurrentLedger, IdempotencyKey
from app.events.event_json import encode_page
from app.events.examples import BATCH_BODIES, EVENT_BODIES, EVENT_ID
from app.events.record import EventRecord
from app.events.repository import EventFilter, EventRepository
from app.events.schemas import BatchCreated, EventCreated, EventQuery, EventView, NewBatch, NewEvent
from app.http.dependencies import CurrentDatabase, ListPlace, WriteSession
from app.http.pages import PageResponse
from app.http.paging import page_links
from app.http.types import Uuid

REPLAYED = "Idempotency-Replayed"

EventId = Annotated[Uuid, Path(description="The `event_id` that the `POST` answered.", examples=[EVENT_ID])]

router = APIRouter(prefix="/sync-events", tags=["events"], route_class=AuthenticatedRoute)
single_router = APIRouter(prefix="/sync-events", tags=["events"], route_class=DirectRoute)
batch_router = APIRouter(prefix="/sync-events", tags=["events"], route_class=BatchRoute)


@single_router.post(
    "",
    operation_id="createSyncEvent",
    summary="Record an event",
    status_code=status.HTTP_201_CREATED,
    responses=openapi.CREATED,
)
async def create_event(
    event: Annotated[NewEvent, Body(openapi_examples=EVENT_BODIES)],
    sender: Writer,
    ledger: CurrentLedger,
    idempotency_key: IdempotencyKey,
    response: Response,
) -> EventCreated:
    """Record one event. The answer comes after the event is committed and flushed to disk.

    Send an `Idempotency-Key` and repeat the request as often as needed: the event is recorded once, and each repetition
    gets the answer of the first, with the header `Idempotency-Replayed`. A key belongs to the subject of the token.
    """
    [receipt] = await ledger.append([_record(event, sender, idempotency_key)])
    event_id = str(receipt.event_id)
    bind_contextvars(event_id=event_id)
    response.headers["Location"] = f"/sync-events/{event_id}"
    if receipt.replayed:
        response.headers[REPLAYED] = "true"
    return EventCreated(event_id=receipt.event_id)


@batch_router.post(
    "/batch",
    operation_id="createSyncEvents",
    summary="Record many events at once",
    status_code=status.HTTP_201_CREATED,
    responses=openapi.BATCH_CREATED,
)
async def create_events(
    batch: Annotated[NewBatch, Body(openapi_examples=BATCH_BODIES)],
    sender: Writer,
    ledger: CurrentLedger,
    response: Response,
) -> BatchCreated:
    """Record 1 to 1000 events in one transaction, in the order given: all of them or none.

    Events whose `idempotency_key` is known already are not recorded again; their ids are the first ones.
    """
    bind_contextvars(events=len(batch.events))
    receipts = await ledger.append([_record(event, sender, event.idempotency_key) for event in batch.events])
    if all(receipt.replayed for receipt in receipts):
        response.headers[REPLAYED] = "true"
    return BatchCreated(event_ids=[receipt.event_id for receipt in receipts])


@router.get(
    "",
    operation_id="listSyncEvents",
    summary="List events",
    response_model=list[EventView],
    responses=openapi.LISTED,
)
async def list_events(
    request: Request,
    query: Annotated[EventQuery, Query()],
    _reader: Reader,
    place: ListPlace,
    database: CurrentDatabase,
) -> Response:
    """Events, newest first. The `Link` header leads to the next and the previous page.

    Filters narrow the list together: an event is listed when it meets all of them.
    """
    wanted = EventFilter(**query.model_dump(exclude={"limit", "offset"}))
    await place.take(query.limit)
    through = await database.watermark.bound()
    async with database.connection() as connection:
        events = await EventRepository(connection, through).list_newest(
            wanted, limit=query.limit + 1, offset=query.offset
        )
    has_next = len(events) > query.limit
    links = page_links(request, limit=query.limit, offset=query.offset, has_next=has_next)
    return PageResponse(place.fill(encode_page(events[: query.limit])), headers=links)


@single_router.get("/{event_id:uuid}", operation_id="getSyncEvent", summary="Get an event", responses=openapi.FOUND)
async def get_event(event_id: EventId, _reader: Reader, events: CurrentEventReader) -> EventView:
    """One event by its id: what was recorded, and how its processing stands."""
    return EventView.of(await events.get(event_id))


@router.post(
    "/{event_id:uuid}/requeue",
    operation_id="requeueSyncEvent",
    summary="Requeue a set-aside event",
    status_code=status.HTTP_202_ACCEPTED,
    responses=openapi.REQUEUED,
)
async def requeue_event(event_id: EventId, _operator: Operator, session: WriteSession) -> EventView:
    """Give an event that the sweep set aside to the next sweep, with all its attempts anew.

    It is processed then, after later events of its file if there are any; the file's state stays that of the latest.
    """
    repository = EventRepository(session)
    requeued = await repository.requeue(event_id)
    event = await repository.get(event_id)
    if not requeued:
        raise Conflict("The event is not set aside, so there is nothing to requeue.")
    return EventView.of(event)


def _record(event: NewEvent, sender: Principal, idempotency_key: str | None) -> EventRecord:
    return EventRecord(uuid7(), event.file_id, event.event_type, event.metadata, sender.subject, idempotency_key)
