"""Set-aside events over HTTP: grouped by error, and requeued one by one or all that match a filter."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, Field

from app.auth.dependencies import Operator, Reader
from app.auth.route import AuthenticatedRoute, LargeBodyRoute
from app.config import Settings
from app.errors import Conflict, OtherCount
from app.events.repository import MAX_NEXT, EventRepository, EventUnknown, SetAsideGroup
from app.events.router import EventId
from app.events.schemas import EVENT_ID, EventView, RequeueFilter
from app.http.body import TooManyLargeBodies
from app.http.dependencies import CurrentDatabase, WriteSession
from app.http.openapi import body_problems, documented
from app.http.types import BulkRequest, examples

_BY_ERROR: dict[str, Any] = {
    "filter": {"last_error": "TimeoutError: the index did not respond", "event_type": "upload"},
    "up_to_position": 4211,
    "expected": 37,
}
_BY_ID: dict[str, Any] = {"filter": {"event_ids": [EVENT_ID]}, "up_to_position": 4211, "expected": 1}
_GROUPS: dict[str, Any] = {
    "groups": [
        {
            "last_error": "TimeoutError: the index did not respond",
            "events": 12_034,
            "oldest_at": "2026-01-15T10:30:00Z",
            "newest_position": 184_220,
            "next": {"up_to_position": 171_902, "expected": 10_000},
        }
    ],
    "others": 0,
}

router = APIRouter(prefix="/sync-events", tags=["events"], route_class=AuthenticatedRoute)
bulk_router = APIRouter(prefix="/sync-events", tags=["events"], route_class=LargeBodyRoute)


class NotSetAside(Conflict):
    detail = "The event is not set aside, so there is nothing to requeue."


class NextRequeue(BaseModel):
    """The body of `POST /sync-events/requeue`, beside the group's `last_error` as the filter."""

    up_to_position: int
    expected: int = Field(description="The oldest events of the group, at most 10000.")


class SetAsideGroupView(BaseModel):
    """Set-aside events with the same error."""

    last_error: str | None = Field(description="Why the last attempt failed.")
    events: int
    oldest_at: datetime = Field(description="`created_at` of the event of the lowest position.")
    newest_position: int = Field(description="The highest position of an event of the group.")
    next: NextRequeue

    @classmethod
    def of(cls, group: SetAsideGroup) -> "SetAsideGroupView":
        return cls(
            **group._asdict(),
            next=NextRequeue(up_to_position=group.next_position, expected=min(group.events, MAX_NEXT)),
        )


class SetAside(BaseModel):
    """The response of `GET /sync-events/set-aside`."""

    model_config = examples(_GROUPS)

    groups: list[SetAsideGroupView] = Field(description="The 100 largest groups, the largest first.")
    others: int = Field(description="Number of events in other groups.")


@router.get(
    "/set-aside",
    operation_id="listSetAsideGroups",
    summary="Group set-aside events by error",
    responses=documented(200, "The largest groups."),
)
async def list_set_aside_groups(_reader: Reader, database: CurrentDatabase) -> SetAside:
    """The events that the sweep has set aside, grouped by `last_error`. Only the oldest 100000 are counted.

    Send `next` with the filter to `POST /sync-events/requeue` to requeue the group or its oldest 10000.
    """
    through = await database.watermark.bound()
    async with database.connection() as connection:
        groups, others = await EventRepository(connection, through).list_set_aside_groups()
    return SetAside(groups=[SetAsideGroupView.of(group) for group in groups], others=others)


class BulkRequeue(BulkRequest):
    """Which set-aside events to requeue, and how many they are."""

    model_config = examples(_BY_ERROR, _BY_ID)

    filter: RequeueFilter = Field(description="Of the events that match, the set-aside ones are requeued.")


class Requeued(BaseModel):
    """How many events were requeued."""

    model_config = examples({"requeued": 37})

    requeued: int


@bulk_router.post(
    "/requeue",
    operation_id="requeueSyncEvents",
    summary="Requeue all set-aside events that match",
    responses=documented(
        200,
        "The events wait for the next sweep.",
        OtherCount("38 set-aside events at or below the position"),
        *body_problems(Settings.model_fields["max_batch_bytes"].default),
        TooManyLargeBodies(),
    ),
)
async def requeue_events(bulk: BulkRequeue, _operator: Operator, session: WriteSession) -> Requeued:
    """Return all matching set-aside events to the next sweep if `expected` is their number; otherwise none.

    Events above `up_to_position` stay as they are, because they were set aside after the caller looked.
    """
    await EventRepository(session).requeue_all(bulk.filter, up_to_position=bulk.up_to_position, expected=bulk.expected)
    return Requeued(requeued=bulk.expected)


@router.post(
    "/{event_id:uuid}/requeue",
    operation_id="requeueSyncEvent",
    summary="Requeue a set-aside event",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=EventView,
    responses=documented(202, "The event waits for the next sweep.", EventUnknown(), NotSetAside()),
)
async def requeue_event(event_id: EventId, _operator: Operator, session: WriteSession) -> Response:
    """Return a set-aside event to the next sweep, with all its attempts again.

    It is then processed after later events of its file, if there are any; the latest event still determines the file's
    state.
    """
    repository = EventRepository(session)
    requeued = await repository.requeue(event_id)
    event = await repository.get(event_id)
    if not requeued:
        raise NotSetAside
    return Response(event.json, status.HTTP_202_ACCEPTED, media_type="application/json")
