"""Events in, events out."""

from json import JSONDecodeError
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response, status
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Send
from starlette.types import Scope as RequestScope
from uuid_utils.compat import uuid7

from app.auth.dependencies import Reader, Writer
from app.auth.route import AuthenticatedRoute, LargeBodyRoute, check_query, limit_rate
from app.auth.token import Principal
from app.config import Settings
from app.errors import FieldError, Unprocessable
from app.events.event_reader import EventReader
from app.events.group import EventRecord, IdempotencyKeyReused
from app.events.ledger import CommitTooLate, Ledger, LedgerBusy
from app.events.listing import EventList, check_offset
from app.events.models import EventType
from app.events.repository import EventUnknown
from app.events.schemas import (
    BATCH_BODIES,
    CREATED_MESSAGE,
    EVENT_BODIES,
    EVENT_ID,
    BatchCreated,
    EventCreated,
    EventFilter,
    EventQuery,
    EventView,
    IdempotencyKeyText,
    NewBatch,
    NewEvent,
)
from app.events.search import EVERYTHING
from app.http.body import JsonRequest, TooManyLargeBodies, require_json
from app.http.dependencies import LINK_HEADER, CurrentDatabase, CurrentPageMemory, from_state, page_links
from app.http.openapi import body_problems, documented, invalid, location_header, not_one_of
from app.http.pages import PageResponse
from app.http.types import Uuid
from app.log.request_line import bind_request_fields

REPLAYED = "Idempotency-Replayed"
REPLAYED_HEADER = {
    REPLAYED: {
        "description": "`true` when an earlier request recorded the event; otherwise absent.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
APPEND_ERRORS = (IdempotencyKeyReused(), LedgerBusy(), CommitTooLate())


CurrentLedger = Annotated[Ledger, from_state("ledger")]
CurrentEventReader = Annotated[EventReader, from_state("event_reader")]
IdempotencyKey = Annotated[
    IdempotencyKeyText | None,
    Header(
        description="Any string that names this event among yours, 1 to 255 visible ASCII characters. A retry with "
        "the same key and body gets the response of the first request and records nothing."
    ),
]
EventId = Annotated[Uuid, Path(description="The `event_id` that the `POST` returned.", examples=[EVENT_ID])]

_event: TypeAdapter[NewEvent] = TypeAdapter(NewEvent)
_key: TypeAdapter[str] = TypeAdapter(IdempotencyKeyText)
_NOTHING: Any = object()


class SingleEventRoute(AuthenticatedRoute):
    """POST of one event, which is most of the load: each step in turn. FastAPI only documents this route.

    Its dependencies, exit stacks and error handling around each request would take a tenth of the time. The signature
    of the endpoint is what the OpenAPI document shows; its arguments come from here. The application renders the errors
    that are raised. It must be a route of the application itself: `include_router` would build FastAPI's handler again.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        [self._permission] = self.permissions()
        self.app = self._serve

    async def _serve(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        request = self.json_request(scope, receive)
        sender = await self._permission.check(request)
        limit_rate(request)
        check_query(request, {})
        require_json(request)
        try:
            event, key = _validate(await _read(request), request.headers.getlist("idempotency-key"))
            response: Response = await self.endpoint(event, sender, request.state.ledger, key)
        finally:
            request.release()
        await response(scope, receive, send)


router = APIRouter(prefix="/sync-events", tags=["events"], route_class=AuthenticatedRoute)
single_router = APIRouter(prefix="/sync-events", tags=["events"], route_class=SingleEventRoute)
batch_router = APIRouter(prefix="/sync-events", tags=["events"], route_class=LargeBodyRoute)


@single_router.post(
    "",
    operation_id="createSyncEvent",
    summary="Record an event",
    status_code=status.HTTP_201_CREATED,
    response_model=EventCreated,
    responses=documented(
        201,
        "The event is committed and flushed to disk.",
        not_one_of(["body", "event_type"], EventType),
        *APPEND_ERRORS,
        headers=location_header("event") | REPLAYED_HEADER,
    ),
)
async def create_event(
    event: Annotated[NewEvent, Body(openapi_examples=EVENT_BODIES)],
    sender: Writer,
    ledger: CurrentLedger,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Record one event. The response comes after the event is committed and flushed to disk.

    Send an `Idempotency-Key` and repeat the request as often as needed: the event is recorded once, and each repetition
    gets the response of the first, with the header `Idempotency-Replayed`. A key belongs to the subject of the token.
    """
    [receipt] = await ledger.append([_record(event, sender, idempotency_key)])
    event_id = str(receipt.event_id)
    bind_request_fields(event_id=event_id)
    headers = {"Location": f"sync-events/{event_id}"}
    if receipt.replayed:
        headers[REPLAYED] = "true"
    body = f'{{"message":"{CREATED_MESSAGE}","event_id":"{event_id}"}}'
    return Response(body, status.HTTP_201_CREATED, headers, "application/json")


@batch_router.post(
    "/batch",
    operation_id="createSyncEvents",
    summary="Record many events together",
    status_code=status.HTTP_201_CREATED,
    responses=documented(
        201,
        "All events are committed and flushed to disk; their ids are in the order of the request.",
        invalid(["body", "events"], "List should have at least 1 item after validation, not 0", "too_short"),
        *body_problems(Settings.model_fields["max_batch_bytes"].default),
        TooManyLargeBodies(),
        *APPEND_ERRORS,
        headers=REPLAYED_HEADER,
    ),
)
async def create_events(
    batch: Annotated[NewBatch, Body(openapi_examples=BATCH_BODIES)],
    sender: Writer,
    ledger: CurrentLedger,
    response: Response,
) -> BatchCreated:
    """Record 1 to 1000 events in one transaction, in the order given: all of them or none.

    An event with a known `idempotency_key` is not recorded again; the response has its first id.
    """
    bind_request_fields(events=len(batch.events))
    receipts = await ledger.append([_record(event, sender, event.idempotency_key) for event in batch.events])
    if all(receipt.replayed for receipt in receipts):
        response.headers[REPLAYED] = "true"
    return BatchCreated(event_ids=[receipt.event_id for receipt in receipts])


@router.get(
    "",
    operation_id="listSyncEvents",
    summary="List events",
    response_model=list[EventView],
    responses=documented(200, "A page of events, newest first.", headers=LINK_HEADER),
)
async def list_events(
    request: Request,
    query: Annotated[EventQuery, Query()],
    _reader: Reader,
    memory: CurrentPageMemory,
    database: CurrentDatabase,
) -> Response:
    """Events, newest first. The `Link` header leads to the next and the previous page.

    Filters narrow the list together: an event is listed when it meets all of them. A page of one file that is
    also filtered by `event_type` or `anomaly` can be short or even empty: follow `Link` to the end.
    """
    event_filter = EventFilter(**query.model_dump(include=set(EventFilter.model_fields)))
    is_filtered = event_filter != EVERYTHING
    if is_filtered:
        check_offset(query.offset)
    through = await database.watermark.bound()
    async with database.connection() as connection:
        page = await EventList(connection, through, memory).newest(
            event_filter, limit=query.limit, offset=query.offset, before=query.before_position
        )
    following = page.following.query("before_position") if page.following and is_filtered else None
    links = page_links(
        request, limit=query.limit, offset=query.offset, has_next=page.following is not None, following=following
    )
    return PageResponse(memory, page.encode(), page.slices(database, memory), links)


@router.get(
    "/{event_id:uuid}",
    operation_id="getSyncEvent",
    summary="Get an event",
    response_model=EventView,
    responses=documented(200, "The event.", EventUnknown()),
)
async def get_event(event_id: EventId, _reader: Reader, events: CurrentEventReader) -> Response:
    """One event by its id, with the state of its processing."""
    return Response((await events.get(event_id)).json, media_type="application/json")


def _record(event: NewEvent, sender: Principal, idempotency_key: str | None) -> EventRecord:
    return EventRecord(uuid7(), event.file_id, event.event_type, event.metadata, sender.subject, idempotency_key)


async def _read(request: JsonRequest) -> Any:
    """The body as JSON, or `_NOTHING`."""
    try:
        return await request.json() if await request.body() else _NOTHING
    except JSONDecodeError as error:
        raise RequestValidationError(
            [{"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "ctx": {"error": error.msg}}]
        ) from error


def _validate(body: Any, keys: list[str]) -> tuple[NewEvent, str | None]:
    """The event, and the one key of the request if it has any.

    Raises:
        RequestValidationError: 422, with what is wrong in both.
        Unprocessable: 422 when there are two keys.
    """
    errors: list[dict[str, Any]] = []
    key = _checked(_key, keys[0], ("header", "idempotency-key"), errors) if keys else None
    if len(keys) > 1 and not errors:
        error = FieldError(loc=["header", "idempotency-key"], msg="Send this header once", type="header_repeated")
        raise Unprocessable("The header Idempotency-Key was sent more than once.", errors=[error])
    event = _checked(_event, body, ("body",), errors)
    if errors:
        raise RequestValidationError(errors)
    return event, key


def _checked(adapter: TypeAdapter[Any], value: Any, location: tuple[str, ...], errors: list[dict[str, Any]]) -> Any:
    """`value` as `adapter` has it; what is wrong with it goes to `errors`, as from FastAPI."""
    if value is _NOTHING:
        errors.append({"type": "missing", "loc": location, "msg": "Field required"})
        return None
    try:
        return adapter.validate_python(value, from_attributes=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        errors += [{**item, "loc": (*location, *item["loc"])} for item in found]
        return None
