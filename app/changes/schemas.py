"""Queries and pages of the change feed."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.changes.cursor import ChangeFilter
from app.events.models import EventType
from app.events.schemas import PAGE_MAX_EVENTS, PENDING_EVENT, EventView
from app.http.types import QueryInteger, Uuid

MAX_WAIT_SECONDS = 60
DEFAULT_LIMIT = 100

BEGINNING = "AQAAAAAAAAAAsDODTOeDmniPlNanC_8h0Zuo"
CURSOR = "AgAAAAAAAAABsDODTOeDmniPlNanP20qG0xdyHF6VgNK"
PAGE_EXAMPLE: dict[str, Any] = {
    "changes": [PENDING_EVENT],
    "cursor": CURSOR,
    "has_more": False,
    "head_position": 1,
    "from_position": 1,
    "to_position": 1,
}
STREAM_EXAMPLE = f"""\
id: {BEGINNING}
retry: 1024

event: change
data: {json.dumps(PENDING_EVENT, separators=(",", ":"))}
id: {CURSOR}

: keep-alive
id: {CURSOR}

event: reconnect
data: {{"reason": "token-expired"}}
id: {CURSOR}

"""


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

    limit: QueryInteger = Field(
        DEFAULT_LIMIT, ge=1, le=PAGE_MAX_EVENTS, description="Maximum number of changes in the page."
    )
    wait: QueryInteger = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for a change when there is none: the response comes with the first change, or "
        "empty at the end of the wait.",
    )


class ChangePage(BaseModel):
    """All matching changes of the positions from `from_position` to `to_position`, in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [PAGE_EXAMPLE]})

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
