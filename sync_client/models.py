"""Requests and responses as types. Unknown members of responses are ignored, since newer services add some."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

EventType = Literal["upload", "update", "delete"]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to record. It has its idempotency key from the start, so sending it again makes no second event."""

    file_id: UUID | str
    event_type: EventType
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str = field(default_factory=lambda: str(uuid4()))

    def body(self) -> dict[str, Any]:
        """The event as JSON, without its key."""
        event: dict[str, Any] = {"file_id": str(self.file_id), "event_type": self.event_type}
        return event if self.metadata is None else event | {"metadata": dict(self.metadata)}


class ResponseModel(BaseModel):
    """A response of the service. Immutable; unknown members are ignored."""

    model_config = ConfigDict(frozen=True)


class Event(ResponseModel):
    """One event of the ledger, and its processing at the time of the response.

    `event_type`, `anomaly` and `state` are plain texts, because a newer service may have more of them.
    """

    event_id: UUID
    position: int
    file_id: UUID
    event_type: str
    created_at: AwareDatetime
    created_by: str
    metadata: dict[str, Any] | None
    processed: bool
    processed_at: datetime | None
    anomaly: str | None
    state: str
    attempts: int
    last_error: str | None


class Change(Event):
    """An event of the feed. A follower that starts from `cursor` begins with the next one."""

    cursor: str = ""


class Created(ResponseModel):
    """The event is committed and flushed to disk; `replayed`: by an earlier attempt."""

    event_id: UUID
    replayed: bool = False


class CreatedBatch(ResponseModel):
    """The response to a batch: ids in the order of the events."""

    event_ids: tuple[UUID, ...]


class ChangePage(ResponseModel):
    """A page of the feed, which covers the positions `from_position` to `to_position`; `cursor` continues after it."""

    changes: tuple[Change, ...]
    cursor: str
    has_more: bool
    head_position: int
    from_position: int
    to_position: int


class FileSubscription(ResponseModel):
    """The progress of a subscription with a file."""

    subscription_id: UUID
    status: str
    delivered_position: int | None
    pending: int
    dead: int
    behind: bool


class FileState(ResponseModel):
    """A file's state: `present`, `deleted`, or `unknown` while its first event is unprocessed."""

    file_id: UUID
    state: str
    revision: int
    last_event_id: UUID | None
    last_event_type: str | None
    last_position: int | None
    pending_events: int
    updated_at: datetime | None
    subscriptions: tuple[FileSubscription, ...] = ()


class Health(ResponseModel):
    """The service's health: `healthy`, `degraded` while it refuses events, or `unhealthy` without its database."""

    status: str
    service: Literal["sync-service"]
    database: str
    timestamp: AwareDatetime
    version: str
    writes: str | None = None
    writes_refused_reason: str | None = None
    unprocessed_events: int | None = None
    oldest_unprocessed_age_seconds: float | None = None
    set_aside_events: int | None = None
    last_sweep_at: datetime | None = None


class NextRequeue(ResponseModel):
    """The parameters that requeue a group of set-aside events, or its oldest 10,000."""

    up_to_position: int
    expected: int


class SetAsideGroup(ResponseModel):
    """Set-aside events with the same error."""

    last_error: str | None
    events: int
    oldest_at: AwareDatetime
    newest_position: int
    next: NextRequeue


class SetAside(ResponseModel):
    """The 100 largest groups, the largest first, and the number of events in the other groups."""

    groups: tuple[SetAsideGroup, ...]
    others: int


class StatusBacklog(ResponseModel):
    """The subscriptions of one status together.

    Of each, the pending delivery at the lowest position counts for `oldest_pending_age_seconds`; None: none is pending.
    """

    count: int
    backlog: int
    oldest_pending_age_seconds: float | None


class Overview(ResponseModel):
    """The state of the whole service, the same on every replica; `subscriptions` by status.

    `events_per_second` is None while the newest event is 1 s or more ahead of the clock, by `clock_ahead_seconds`.
    """

    head_position: int
    events_per_second: float | None
    clock_ahead_seconds: float | None = None
    backlog: int
    oldest_unprocessed_age_seconds: float | None
    set_aside: int
    subscriptions: dict[str, StatusBacklog]
    open_findings: int
    version: str
    replica: str


class ThroughputBucket(ResponseModel):
    """Number of events recorded from `start` (included) to `end` (not included)."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)

    start: AwareDatetime = Field(alias="from")
    end: AwareDatetime = Field(alias="to")
    events: int


class Throughput(ResponseModel):
    """Equal parts of a time, in order."""

    buckets: tuple[ThroughputBucket, ...]


class FieldError(ResponseModel):
    """One thing wrong with a request: where, what, and its kind."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class Problem(ResponseModel):
    """Problem details (RFC 9457). Further members of a kind of problem are in `model_extra`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldError, ...] = ()
