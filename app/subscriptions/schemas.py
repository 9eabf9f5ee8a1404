"""Subscriptions as JSON: what operators send and get."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from app.events.models import EventType
from app.http.types import MAX_EXACT_INTEGER, BodyInteger, BodyTimestamp, Input, QueryInteger, examples
from app.outbound.endpoint import EndpointUrl, HeaderChanges, Headers
from app.subscriptions.models import Ordering
from app.subscriptions.repository import MAX_COUNTED, SubscriptionOverview
from app.subscriptions.types import (
    Description,
    EventTypes,
    Position,
    RateLimit,
    Secret,
    Start,
)

MAX_CONCURRENCY = 100
_UNCHANGEABLE = ("ordering", "start")
_COUNTED = f"at most {MAX_COUNTED}, which means that many or more"

_AS_STORED = (
    *("id", "url", "description", "ordering", "max_concurrency", "rate_limit_per_second", "status", "status_reason"),
    *("created_at", "created_by", "updated_at", "start_position", "failing_since", "slow_until"),
)

SettableStatus = Literal["active", "paused"]
Status = Literal["active", "paused", "disabled"]


SUBSCRIPTION_ID = "019376a5-3b70-7c1e-a2d4-5e6f7a8b9c0d"
_URL = "https://metadata.example.com/hooks/sync"
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw7hJ0kP3vXeE="  # noqa: S105 - belongs to nothing
_SUBSCRIPTION: dict[str, Any] = {
    "id": SUBSCRIPTION_ID,
    "url": _URL,
    "description": "metadata service",
    "header_names": ["Authorization"],
    "event_types": ["upload", "delete", "update"],
    "ordering": "per_file",
    "max_concurrency": 10,
    "rate_limit_per_second": None,
    "status": "active",
    "status_reason": None,
    "created_by": "operator@clients",
    "created_at": "2026-01-15T10:30:00Z",
    "updated_at": "2026-01-15T10:30:00Z",
    "old_secret_until": None,
    "start_position": 41,
    "backlog": {"live": True, "position": 57, "behind": 2},
    "pending": 3,
    "dead": 0,
    "oldest_pending_at": "2026-01-15T10:31:02.5Z",
    "failing_since": None,
    "slow_until": None,
    "replay": None,
}


class NewSubscription(Input):
    """A new subscription: its URL, change filter and settings."""

    model_config = examples(
        {"url": _URL, "description": "metadata service"},
        {
            "url": _URL,
            "description": "indexer, from the first event on",
            "event_types": ["upload", "update"],
            "headers": {"Authorization": "Bearer 4f1c9a"},
            "start": "beginning",
            "ordering": "none",
            "max_concurrency": 50,
            "rate_limit_per_second": 200,
        },
    )

    url: EndpointUrl = Field(
        description="Where events are POSTed: http or https, without user, password and fragment. Its port must be one "
        "of `WEBHOOK_PORTS`, its address public unless `WEBHOOK_ALLOW_PRIVATE_ADDRESSES` is set; it is looked up at "
        "every new connection. Use https: signatures prove who wrote a message, and do not hide it."
    )
    description: Description = Field("", description="For people.")
    event_types: EventTypes = Field(default=list(EventType), description="Event types to deliver.")
    headers: Headers = Field(
        {}, description="Sent with every request, e.g. `Authorization`. Stored encrypted and never returned."
    )
    start: Start = Field(
        default="latest",
        validate_default=True,
        description="`latest`: events recorded from now on; `beginning`: all events; a position: events after it.",
    )
    ordering: Ordering = Field(
        Ordering.PER_FILE,
        description="`per_file`: an event is sent once the earlier ones of its file are delivered or dead; `none`: at "
        "once.",
    )
    max_concurrency: BodyInteger = Field(
        10, ge=1, le=MAX_CONCURRENCY, description="Maximum number of concurrent requests."
    )
    rate_limit_per_second: RateLimit | None = Field(None, description="Requests per second; null: no limit.")
    status: SettableStatus = Field("active", description="`paused`: nothing is sent until it is made active.")
    secret: Secret | None = Field(
        None, description="Your own secret to sign with: `whsec_` and the base64 of 24 to 64 bytes. Null: a new one."
    )


class SubscriptionChange(Input):
    """A change, as a merge patch (RFC 7396): absent members stay as they are.

    Null removes `headers` and `rate_limit_per_second`; the other members are always present and cannot be null.
    """

    # A default that is made is none in the schema; `model_fields_set` has the fields that were sent.
    model_config = examples({"status": "paused"}, {"headers": {"X-Tenant": "blue"}, "max_concurrency": 100})

    url: EndpointUrl = Field(
        default_factory=str, description="As for a new subscription. Earlier failures are forgotten."
    )
    description: Description = Field(default_factory=str, description="For people.")
    event_types: EventTypes = Field(
        default_factory=list, description="Event types to deliver, in the deliveries that are not written yet."
    )
    headers: HeaderChanges | None = Field(
        None, description="A value sets a header, null removes it, others stay. Null instead of the object removes all."
    )
    max_concurrency: BodyInteger = Field(
        default_factory=int, ge=1, le=MAX_CONCURRENCY, description="Requests under way at once."
    )
    rate_limit_per_second: RateLimit | None = Field(None, description="Requests per second; null: no limit.")
    status: SettableStatus = Field(
        default_factory=lambda: "active",
        description="`paused`: send nothing, keep the backlog; `active`: send again, also when it was disabled or "
        "is slowed down.",
    )

    @model_validator(mode="before")
    @classmethod
    def _only_changeable(cls, data: Any) -> Any:
        if isinstance(data, dict) and any(name in data for name in _UNCHANGEABLE):
            raise PydanticCustomError("unchangeable", "`ordering` and `start` cannot be changed; create a new one")
        return data


class Replay(Input):
    """The range of events to deliver again: by position, or by the time they were recorded."""

    model_config = examples(
        {"from_position": 1, "until_position": 40},
        {"from_time": "2026-01-15T10:00:00Z", "until_time": "2026-01-15T11:00:00Z"},
    )

    from_position: Position | None = Field(None, description="The first position.")
    until_position: Position | None = Field(None, description="The last position; by default the newest event.")
    from_time: BodyTimestamp | None = Field(None, description="Only events recorded then or later.")
    until_time: BodyTimestamp | None = Field(
        None, description="Only events recorded before then; by default, before now."
    )

    @model_validator(mode="after")
    def _one_range(self) -> Self:
        ways = (self.from_position, self.until_position), (self.from_time, self.until_time)
        if (ways[0][0] is None) == (ways[1][0] is None):
            raise PydanticCustomError("replay_range", "Send `from_position` or `from_time`, and not both")
        if ways[self.from_time is None] != (None, None):
            raise PydanticCustomError("replay_range", "Positions and times cannot be mixed")
        for start, end in (ways[0], ways[1]):
            if start is not None and end is not None and end < start:  # type: ignore[operator]  # of one kind
                raise PydanticCustomError("replay_range", "The range ends before it begins")
        return self


class Backlog(BaseModel):
    """The progress of writing the subscription's deliveries from the ledger."""

    live: bool = Field(description="Whether deliveries are written as events are processed; else they come later.")
    position: int = Field(description="Deliveries are written up to this position.")
    behind: int = Field(description="Number of later positions in the ledger.")


class ReplayProgress(BaseModel):
    """A replay under way."""

    position: int = Field(description="Events up to this position are pending again.")
    until: int = Field(description="The last position of the range.")


class SubscriptionView(BaseModel):
    """A subscription with its state and backlog."""

    model_config = examples(_SUBSCRIPTION)

    id: UUID
    url: str
    description: str
    event_types: list[EventType]
    header_names: list[str] | None = Field(
        description="The headers sent with every request; null when the present keys cannot decrypt them."
    )
    ordering: Ordering
    max_concurrency: int
    rate_limit_per_second: float | None
    status: Status = Field(description="`disabled`: by the service, for `status_reason`.")
    status_reason: str | None
    created_at: datetime
    created_by: str = Field(description="Subject of the token that created it.")
    updated_at: datetime = Field(description="When it was last changed by a client.")
    old_secret_until: datetime | None = Field(description="Until then the previous secret signs too.")
    start_position: int = Field(description="Events after this position are delivered.")
    backlog: Backlog
    pending: int = Field(description=f"Deliveries that wait or are under way: {_COUNTED}.")
    oldest_pending_at: datetime | None = Field(
        description="When the pending delivery of the lowest position became pending."
    )
    dead: int = Field(description=f"Deliveries that used up their attempts: {_COUNTED}.")
    failing_since: datetime | None = Field(description="When the first attempt since the last success failed.")
    slow_until: datetime | None = Field(description="Nothing is sent before then, because the receiver is overloaded.")
    replay: ReplayProgress | None

    @classmethod
    def of(cls, overview: SubscriptionOverview, header_names: Sequence[str] | None, **more: Any) -> Self:
        stored = overview.subscription
        reached = overview.swept if stored.live else stored.cursor
        is_signing = stored.old_secret_until is not None and stored.old_secret_until > overview.now
        is_replaying = stored.replay_cursor is not None and stored.replay_until is not None
        return cls.model_validate(
            {
                **{name: getattr(stored, name) for name in _AS_STORED},
                "event_types": stored.event_type_list,
                "header_names": header_names,
                "old_secret_until": stored.old_secret_until if is_signing else None,
                "backlog": {"live": stored.live, "position": reached, "behind": max(0, overview.head - reached)},
                "pending": overview.pending,
                "oldest_pending_at": overview.oldest_pending_at,
                "dead": overview.dead,
                "replay": {"position": stored.replay_cursor, "until": stored.replay_until} if is_replaying else None,
                **more,
            }
        )


class CreatedSubscription(SubscriptionView):
    """A new subscription, with its secret."""

    model_config = examples({**_SUBSCRIPTION, "secret": _SECRET})

    secret: str = Field(description="What messages are signed with. Keep it: it is not shown again.")


class RotatedSecret(BaseModel):
    """The new secret, and the time until which the old one signs too."""

    model_config = examples({"secret": _SECRET, "old_secret_until": "2026-01-16T10:30:00Z"})

    secret: str = Field(description="What messages are signed with. Keep it: it is not shown again.")
    old_secret_until: datetime | None = Field(
        description="Until then the previous secret signs too; null when the present keys cannot decrypt it."
    )


class SubscriptionQuery(BaseModel):
    """A part of the list of subscriptions, oldest first."""

    limit: QueryInteger = Field(10, ge=1, le=100, description="Number of subscriptions to return.")
    offset: QueryInteger = Field(0, ge=0, le=MAX_EXACT_INTEGER, description="Number of subscriptions to skip.")
    status: Status | None = Field(None, description="Only subscriptions in this status.")
