"""What followers ask for and get."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.changes.change import Wanted
from app.events.models import EventType
from app.events.schemas import PAGE_MAX_EVENTS, PENDING_EVENT, EventView
from app.http.types import QueryInteger, Uuid

MAX_WAIT_SECONDS = 60
DEFAULT_LIMIT = 100

BEGINNING = "AQAAAAAAAAAAsDODTOeDmniPlNanC_8h0Zuo"
CURSOR = "AgAAAAAAAAABsDODTOeDmniPlNanP20qG0xdyHF6VgNK"
PAGE: dict[str, Any] = {
    "changes": [PENDING_EVENT],
    "cursor": CURSOR,
    "has_more": False,
    "head_position": 1,
    "from_position": 1,
    "to_position": 1,
}
STREAM = f"""\
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
    """Which changes, and from where on."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(
        None,
        description="The `cursor` of an earlier answer, with the same filter. Without one: from the oldest event; "
        "`latest`: from now.",
    )
    event_type: Annotated[list[EventType], Field(max_length=len(EventType))] = Field(
        [], description="Only changes of this type; repeat it for several types."
    )
    file_id: Uuid | None = Field(None, description="Only changes of this file.")

    def wanted(self) -> Wanted:
        """The filter."""
        return Wanted(frozenset(self.event_type), self.file_id)


class ChangesQuery(FollowQuery):
    """Which changes, how many at once, and how long to wait for them."""

    limit: QueryInteger = Field(DEFAULT_LIMIT, ge=1, le=PAGE_MAX_EVENTS, description="Most changes to return.")
    wait: QueryInteger = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for a change when there is none: the answer comes as soon as there is one, or at "
        "the end of the wait without any.",
    )


class ChangePage(BaseModel):
    """Every wanted change of the positions from `from_position` to `to_position`, in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [PAGE]})

    changes: list[EventView] = Field(
        description="Events as everywhere. Without a filter their positions are consecutive."
    )
    cursor: str = Field(
        description="Send it to go on after this page. It is opaque, and good as long as the ledger is."
    )
    has_more: bool = Field(description="Whether the ledger went on beyond `to_position`: ask again at once.")
    head_position: int = Field(description="The last position of the ledger at this moment; 0 while it is empty.")
    from_position: int = Field(description="First position that the page covers: the one after the cursor sent.")
    to_position: int = Field(
        description="Last position that the page covers; `from_position - 1` when there is nothing new."
    )
