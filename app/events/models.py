"""Tables of the ledger: its events, its head, its identity, and how far the sweep has read it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    false,
    func,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database.types import Base, one_of, partial_index


class EventType(StrEnum):
    """What happened to a file."""

    UPLOAD = "upload"
    DELETE = "delete"
    UPDATE = "update"


class Anomaly(StrEnum):
    """Why an event does not fit the earlier events of its file."""

    UPDATE_OF_UNKNOWN_FILE = "update_of_unknown_file"
    DELETE_OF_UNKNOWN_FILE = "delete_of_unknown_file"
    UPDATE_OF_DELETED_FILE = "update_of_deleted_file"
    DELETE_OF_DELETED_FILE = "delete_of_deleted_file"


class RetryState(StrEnum):
    """Why the sweep has passed an event without processing it."""

    RETRYING = "retrying"  # it failed and gets another attempt at `retry_at`
    WAITING = "waiting"  # an earlier event of the same file is retried at `retry_at`
    FAILED = "failed"  # it used up its attempts and is set aside until an operator requeues it


class SyncEvent(Base):
    """One event. Rows are never deleted; only the processing columns (below `idempotency_key`) ever change.

    `processed` is in no index on purpose: marking a batch processed then rewrites no index entry (on PostgreSQL
    the row moves within its page, which `fillfactor` keeps half free for it). `sweep_cursor` bounds the search
    for unprocessed events instead.
    """

    __tablename__ = "sync_events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    file_id: Mapped[UUID]
    event_type: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    event_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSON(none_as_null=True))
    created_by: Mapped[str] = mapped_column(String(255))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))

    processed: Mapped[bool] = mapped_column(server_default=false())
    processed_at: Mapped[datetime | None]
    anomaly: Mapped[str | None] = mapped_column(String(64))
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    retry_state: Mapped[str | None] = mapped_column(String(16))
    retry_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("position"),
        CheckConstraint("position > 0", name="position_positive"),
        CheckConstraint(one_of("event_type", EventType), name="event_type_known"),
        CheckConstraint(one_of("retry_state", RetryState), name="retry_state_known"),
        CheckConstraint("NOT (processed AND retry_state IS NOT NULL)", name="processed_is_settled"),
        Index("ix_sync_events_file_id_position", "file_id", "position"),
        Index("ix_sync_events_created_at_position", "created_at", "position"),
        partial_index(
            "uq_sync_events_created_by_idempotency_key",
            "created_by",
            "idempotency_key",
            where="idempotency_key IS NOT NULL",
            unique=True,
        ),
        partial_index(
            "ix_sync_events_retry_state_position", "retry_state", "position", where="retry_state IS NOT NULL"
        ),
        partial_index(
            "ix_sync_events_retry_state_event_type_position",
            "retry_state",
            "event_type",
            "position",
            where="retry_state IS NOT NULL",
        ),
        partial_index(
            "ix_sync_events_retry_state_file_id_position",
            "retry_state",
            "file_id",
            "position",
            where="retry_state IS NOT NULL",
        ),
        partial_index("ix_sync_events_retry_at", "retry_at", where="retry_at IS NOT NULL"),
        partial_index("ix_sync_events_retry_file_id_position", "file_id", "position", where="retry_at IS NOT NULL"),
        # The list of a type, and of all that is in no retry, merges these two with the indexes by `retry_state`: so it
        # passes over any number of other events. The sweep of an event without an anomaly changes none of the columns.
        partial_index(
            "ix_sync_events_plain_event_type_position",
            "event_type",
            "position",
            where="retry_state IS NULL AND anomaly IS NULL",
        ),
        partial_index(
            "ix_sync_events_anomaly_event_type_position", "event_type", "position", where="anomaly IS NOT NULL"
        ),
        partial_index("ix_sync_events_no_retry_file_id_position", "file_id", "position", where="retry_state IS NULL"),
        {"postgresql_with": {"fillfactor": 50}},
    )


class LedgerHead(Base):
    """One row: the last position given out and its time. Its lock puts every append of every replica in order."""

    __tablename__ = "ledger_head"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


def head_position() -> ColumnElement[int]:
    """The position of the newest event, from the index, in which it has one entry.

    The row of `ledger_head` has a version for each append for as long as any session holds an old snapshot. It is read
    only while there is no event.
    """
    last = select(LedgerHead.position).where(LedgerHead.id == 1).scalar_subquery()
    return select(func.coalesce(func.max(SyncEvent.position), last)).scalar_subquery()


def last_position(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """The last position where a condition on `created_at` holds, 0 where there is none.

    `created_at` never falls while the position rises, so this is one probe of their index.
    """
    newest_first = (SyncEvent.created_at.desc(), SyncEvent.position.desc())
    last = select(SyncEvent.position).where(condition).order_by(*newest_first).limit(1)
    return func.coalesce(last.correlate_except(SyncEvent).scalar_subquery(), 0)


class LedgerIdentity(Base):
    """One row: a random id of this ledger, drawn when the table was made."""

    __tablename__ = "ledger_identity"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    ledger_id: Mapped[UUID]

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class SweepCursor(Base):
    """One row: every event up to `position` is processed or has a `retry_state`. Its lock elects the sweeper."""

    __tablename__ = "sweep_cursor"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
