"""What the sweep has set aside, grouped by error."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.auth.dependencies import Reader
from app.auth.route import AuthenticatedRoute
from app.events.set_aside_repository import MAX_NEXT, SetAsideGroup, SetAsideRepository
from app.http.dependencies import CurrentDatabase
from app.http.openapi import documented

router = APIRouter(prefix="/sync-events", tags=["events"], route_class=AuthenticatedRoute)

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


class NextRequeue(BaseModel):
    """What to send to `POST /sync-events/requeue` with the group's `last_error` as the filter."""

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
        """The view of a group."""
        return cls(
            **group._asdict(),
            next=NextRequeue(up_to_position=group.next_position, expected=min(group.events, MAX_NEXT)),
        )


class SetAside(BaseModel):
    """The response of `GET /sync-events/set-aside`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_GROUPS]})

    groups: list[SetAsideGroupView] = Field(description="The 100 largest groups, the largest first.")
    others: int = Field(description="How many events are in other groups.")


@router.get(
    "/set-aside",
    operation_id="listSetAsideGroups",
    summary="Group set-aside events by error",
    responses=documented(200, "The largest groups."),
)
async def list_set_aside_groups(_reader: Reader, database: CurrentDatabase) -> SetAside:
    """The events that the sweep has set aside, in groups of one `last_error` each. The oldest 100000 are looked at.

    `next` is what `POST /sync-events/requeue` takes beside the filter, to requeue the group or its oldest 10000.
    """
    through = await database.watermark.bound()
    async with database.connection() as connection:
        groups, others = await SetAsideRepository(connection, through).list_groups()
    return SetAside(groups=[SetAsideGroupView.of(group) for group in groups], others=others)
