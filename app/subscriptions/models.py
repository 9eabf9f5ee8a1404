"""Tables of the webhooks: subscriptions, their deliveries, the files that wait, and every attempt."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    column,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database.types import Base, JsonList, json_words, one_of, partial_index

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers the rows of an INTEGER key alone


class Ordering(StrEnum):
    """The order of deliveries."""

    PER_FILE = "per_file"  # an event after the earlier ones of its file
    NONE = "none"


class SubscriptionStatus(StrEnum):
    """Whether deliveries are sent."""

    ACTIVE = "active"
    PAUSED = "paused"  # by an operator
    DISABLED = "disabled"  # by the service, for `status_reason`
    DELETED = "deleted"  # hidden; it and its deliveries are being removed


class DeliveryStatus(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"  # it used up its attempts


class Outcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"  # any 2xx
    FAILED = "failed"  # any other response, redirects among them, or none in HTTP
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # no connection
    REFUSED = "refused"  # by us: the address is not allowed
    SLOW_DOWN = "slow_down"  # 429, 502, 504
    GONE = "gone"  # 410: the subscriber refuses further messages

    @property
    def slows(self) -> bool:
        """Whether the subscriber is overloaded, whatever the event: then its other deliveries wait too."""
        return self in {Outcome.SLOW_DOWN, Outcome.UNREACHABLE}


class Subscription(Base):
    """The URL and the change filter of a subscriber, and the progress of its deliveries.

    While `live`, the sweep writes the deliveries of the events that it processes. Otherwise deliveries are written up
    to position `cursor`, and the catch-up continues from there once the subscription is active; an event at
    or below `cursor` that is processed late still comes from the sweep. A replay runs beside it, from
    `replay_cursor` to `replay_until`.
    """

    __tablename__ = "subscriptions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    # The database derives the list from the text, which replicas of the release before this one read and write too.
    event_types: Mapped[str] = mapped_column(String(64))  # written, with a space between names; read from the list
    event_type_list: Mapped[list[str]] = mapped_column(JsonList, Computed(json_words(column("event_types"))))
    ordering: Mapped[str] = mapped_column(String(16))
    max_concurrency: Mapped[int] = mapped_column(SmallInteger)
    rate_limit_per_second: Mapped[float | None]
    headers: Mapped[bytes | None] = mapped_column(LargeBinary)  # encrypted JSON
    status: Mapped[str] = mapped_column(String(16))
    status_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(255))
    updated_at: Mapped[datetime]
    version: Mapped[int]  # raised by each change that a client makes: the ETag

    secret: Mapped[bytes] = mapped_column(LargeBinary)  # encrypted
    old_secret: Mapped[bytes | None] = mapped_column(LargeBinary)  # encrypted; signs along until `old_secret_until`
    old_secret_until: Mapped[datetime | None]

    start_position: Mapped[int]  # events after it are delivered
    live: Mapped[bool]
    cursor: Mapped[int]
    replay_cursor: Mapped[int | None]
    replay_until: Mapped[int | None]

    failing_since: Mapped[datetime | None]  # the first failed attempt since the last one that succeeded
    slow_until: Mapped[datetime | None]  # nothing is sent until then
    slow_seconds: Mapped[int | None] = mapped_column(Integer)  # how long that was when it was written
    slow_count: Mapped[int] = mapped_column(SmallInteger, server_default="0")  # responses in a row that asked for less
    next_send_at: Mapped[datetime | None]  # the rate limit's theoretical arrival time (GCRA)

    __table_args__ = (
        CheckConstraint(one_of("status", SubscriptionStatus), name="status_known"),
        CheckConstraint(one_of("ordering", Ordering), name="ordering_known"),
        CheckConstraint("max_concurrency > 0", name="max_concurrency_positive"),
    )


class Delivery(Base):
    """One event for one subscription.

    `due_at` is set on a pending delivery that may be claimed from then on; a claim moves it to the end of its lease,
    so that a lease which ends makes it due again. In a subscription ordered per file it is null on all but one of the
    file's pending deliveries: these wait for that one. `fence` rises with each claim, and a result is taken only with
    the fence of the last claim. It rises by `FENCE_LEAP` when a settled delivery is made pending again.
    """

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    # No foreign key: its check would wait for a lock on the subscription, and the sweep with it.
    subscription_id: Mapped[UUID]
    position: Mapped[int]
    file_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(String(16))
    due_at: Mapped[datetime | None]
    wait_seconds: Mapped[int | None] = mapped_column(Integer)  # before a retry: from the failed attempt to `due_at`
    claimed_by: Mapped[str | None] = mapped_column(String(64))  # the process that has the lease
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")  # since it became pending
    failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")  # attempts that count against it
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]  # when it was delivered or died

    __table_args__ = (
        UniqueConstraint("subscription_id", "position"),
        CheckConstraint(one_of("status", DeliveryStatus), name="status_known"),
        CheckConstraint("status = 'pending' OR (due_at IS NULL AND claimed_by IS NULL)", name="settled_is_not_due"),
        partial_index("ix_deliveries_due", "subscription_id", "due_at", "position", where="due_at IS NOT NULL"),
        partial_index(
            "ix_deliveries_pending_file", "subscription_id", "file_id", "position", where="status = 'pending'"
        ),
        partial_index("ix_deliveries_claimed", "subscription_id", "claimed_by", where="claimed_by IS NOT NULL"),
        Index("ix_deliveries_subscription_id_status_position", "subscription_id", "status", "position"),
        Index("ix_deliveries_position", "position"),
        partial_index("ix_deliveries_dead_file", "file_id", "subscription_id", where="status = 'dead'"),
        Index("ix_deliveries_file_id_position", "file_id", "position"),
        partial_index("ix_deliveries_settled_at", "settled_at", where="settled_at IS NOT NULL"),
    )


class FullLane(Base):
    """A file of a subscription with too many pending deliveries: no more are written.

    Its events after `cursor` are in the ledger alone; the catch-up writes their deliveries once some have been settled.
    """

    __tablename__ = "full_lanes"

    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscriptions.id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    cursor: Mapped[int]


class Attempt(Base):
    """One request to a subscriber and its result. Pruned after `WEBHOOK_RETENTION_DAYS`."""

    __tablename__ = "delivery_attempts"

    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(SmallInteger)  # 1, 2, 3, …; from 1 again after a redelivery
    started_at: Mapped[datetime]
    duration_ms: Mapped[int]
    status_code: Mapped[int | None] = mapped_column(SmallInteger)  # None: no response
    outcome: Mapped[str] = mapped_column(String(32))
    response: Mapped[str | None] = mapped_column(Text)  # the first KiB of the response body, as text
    error: Mapped[str | None] = mapped_column(Text)  # why there was no response

    __table_args__ = (
        Index("ix_delivery_attempts_delivery_id", "delivery_id"),
        Index("ix_delivery_attempts_started_at", "started_at"),
    )
