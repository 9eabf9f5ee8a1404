"""The overview for operators, and events over time: the same numbers from every replica."""

import os
import platform
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from app.auth.dependencies import Reader
from app.auth.route import AuthenticatedRoute
from app.config import Settings
from app.http.dependencies import CurrentDatabase
from app.http.openapi import documented, invalid
from app.http.types import QueryInteger, QueryTimestamp, examples
from app.operations.repository import RATE_SECONDS, StatusRepository

MAX_BUCKETS = 120
CLOCK_TOLERANCE_SECONDS = 1  # an event of this moment may be a little ahead of the clock that was read before it
BACKWARDS = "Input should be later than `from`"
_COUNTED = "at most 100000, which means that many or more"

router = APIRouter(tags=["operations"], route_class=AuthenticatedRoute)


class BacklogView(BaseModel):
    """The subscriptions of one status, together."""

    count: int = Field(description="Number of subscriptions.")
    backlog: int = Field(
        description="Their pending deliveries, at most 100000 of each subscription, and, for each subscription that is "
        "not live, the number of ledger positions after its cursor."
    )
    oldest_pending_age_seconds: float | None = Field(
        description="Age of a pending delivery: of each subscription the one at the lowest position counts, and of "
        "these the oldest; null when none is pending."
    )


class SubscriptionsView(BaseModel):
    """The subscriptions by status."""

    active: BacklogView
    paused: BacklogView
    disabled: BacklogView


_OVERVIEW: dict[str, Any] = {
    "head_position": 184_220,
    "events_per_second": 41.5,
    "clock_ahead_seconds": None,
    "backlog": 12,
    "oldest_unprocessed_age_seconds": 2.4,
    "set_aside": 0,
    "subscriptions": {
        "active": {"count": 3, "backlog": 40, "oldest_pending_age_seconds": 1.2},
        "paused": {"count": 1, "backlog": 5120, "oldest_pending_age_seconds": None},
        "disabled": {"count": 0, "backlog": 0, "oldest_pending_age_seconds": None},
    },
    "open_findings": 2,
    "audit": None,
    "version": "1.0.0",
    "replica": "sync-service-7c9d5b8f6d-x2x7k:1",
}


class Overview(BaseModel):
    """The response of `GET /overview`."""

    model_config = examples(_OVERVIEW)

    head_position: int = Field(description="Position of the newest event; 0 while there is none.")
    events_per_second: float | None = Field(
        description="Of the last 60 seconds, over all replicas; null while `clock_ahead_seconds` is not."
    )
    clock_ahead_seconds: float | None = Field(
        description="How far the newest event's `created_at` is ahead of the database's clock; null below 1 s."
    )
    backlog: int = Field(description="Events that wait for the sweep; retried events count up to 100000.")
    oldest_unprocessed_age_seconds: float = Field(description="Age of the oldest of them; 0 if there are none.")
    set_aside: int = Field(description=f"Events that failed too often and wait for an operator, {_COUNTED}.")
    subscriptions: SubscriptionsView
    open_findings: int = Field(
        description=f"Differences between the ledger and the services that hold the files, {_COUNTED}."
    )
    audit: None = Field(description="The proof of the ledger. This release has none.")
    version: str
    replica: str = Field(description="Host name and process id of the process that responds.")


class ThroughputQuery(BaseModel):
    """A period, and the number of its equal parts."""

    model_config = ConfigDict(extra="forbid")

    from_: QueryTimestamp = Field(alias="from", description="The beginning, an RFC 3339 time.")
    to: QueryTimestamp = Field(description="The end, later than `from`; it may lie in the future.")
    buckets: QueryInteger = Field(60, ge=1, le=MAX_BUCKETS, description="Number of equal parts.")

    @field_validator("to")
    @classmethod
    def _later(cls, value: datetime, info: ValidationInfo) -> datetime:
        if "from_" in info.data and value <= info.data["from_"]:
            raise PydanticCustomError("time_range", BACKWARDS)
        return value

    def boundaries(self) -> list[datetime]:
        """The beginning of each bucket, and the end of the last."""
        span = self.to - self.from_
        return [self.from_ + span * number / self.buckets for number in range(self.buckets + 1)]


class Bucket(BaseModel):
    """Number of events recorded in a part of the period, from its beginning (included) to its end (not included)."""

    from_: datetime = Field(alias="from")
    to: datetime
    events: int


class Throughput(BaseModel):
    """The response of `GET /throughput`."""

    model_config = examples(
        {"buckets": [{"from": "2026-01-15T10:30:00Z", "to": "2026-01-15T10:31:00Z", "events": 2490}]}
    )

    buckets: list[Bucket] = Field(description="The parts in order, without a gap.")


def _durable(position: int, through: int | None) -> int:
    return position if through is None else min(position, through)


@router.get(
    "/overview", operation_id="getOverview", summary="Get the overview", responses=documented(200, "The overview.")
)
async def get_overview(request: Request, _reader: Reader, database: CurrentDatabase) -> Overview:
    """The state of the ledger, its sweep, the subscriptions and the findings, the same on every replica.

    Its cost is bounded: counts end at 100000.
    """
    settings: Settings = request.state.settings
    through = await database.watermark.bound()
    async with database.connection() as connection:
        repository = StatusRepository(connection)
        status = await repository.get_status()
        backlogs = await repository.read_backlogs()
    ahead = status.ledger_ahead_seconds
    is_ahead = ahead >= CLOCK_TOLERANCE_SECONDS
    return Overview(
        head_position=_durable(status.position, through),
        events_per_second=None if is_ahead else status.recent_events / RATE_SECONDS,
        clock_ahead_seconds=ahead if is_ahead else None,
        backlog=status.unprocessed,
        oldest_unprocessed_age_seconds=status.oldest_unprocessed_age_seconds,
        set_aside=status.set_aside,
        subscriptions=SubscriptionsView.model_validate(backlogs, from_attributes=True),
        open_findings=status.open_finding_count,
        audit=None,
        version=settings.api_version,
        replica=f"{platform.node()}:{os.getpid()}",
    )


@router.get(
    "/throughput",
    operation_id="getThroughput",
    summary="Count events over time",
    responses=documented(
        200, "The number of events in each part of the time.", invalid(["query", "to"], BACKWARDS, "time_range")
    ),
)
async def get_throughput(
    query: Annotated[ThroughputQuery, Query()], _reader: Reader, database: CurrentDatabase
) -> Throughput:
    """Number of events recorded, by all replicas, in each equal part of a period.

    Positions have no gaps and `created_at` never falls, so a count is the difference of two positions. A part that is
    over changes only until its last events are committed and, with synchronous standbys, durable.
    """
    boundaries = query.boundaries()
    through = await database.watermark.bound()
    async with database.connection() as connection:
        found = await StatusRepository(connection).list_positions(boundaries)
    positions = [_durable(position, through) for position in found]
    return Throughput(
        buckets=[
            Bucket.model_validate({"from": start, "to": end, "events": last - first})
            for (start, end), (first, last) in zip(pairwise(boundaries), pairwise(positions), strict=True)
        ]
    )
