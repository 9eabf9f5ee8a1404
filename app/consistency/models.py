"""Tables of the consistency checks: sources, checks, the checks of single files, and findings."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    false,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database.types import Base, one_of, partial_index

MAX_GRACE = timedelta(days=1)  # that a source may have
REPAIR_SUBJECT = "sync-service:repairs"  # `created_by` of compensations
_JSON = JSON(none_as_null=True)


class CheckState(StrEnum):
    """The state of a check."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"  # for `reason`; the findings are as before
    SUSPECT = "suspect"  # too many files are absent to believe the listing; the findings are as before
    CANCELLED = "cancelled"


class Kind(StrEnum):
    """How a source differs from the ledger."""

    MISSING = "missing"
    ORPHANED = "orphaned"
    MISSING_BLOCK = "missing_block"
    ORPHANED_BLOCK = "orphaned_block"
    STALE = "stale"
    WRONG_SIZE = "wrong_size"
    WRONG_HASH = "wrong_hash"


class FindingState(StrEnum):
    """The state of a finding."""

    SUSPECTED = "suspected"  # seen, but not yet confirmed by a check of the one file after the grace period
    OPEN = "open"
    RESOLVED = "resolved"  # a later check saw agreement
    ACCEPTED = "accepted"  # by an operator


class Verdict(StrEnum):
    """The result of the last check of one file."""

    CONSISTENT = "consistent"
    INCONSISTENT = "inconsistent"
    IN_FLIGHT = "in_flight"  # the file has events that the source need not know yet
    UNKNOWN = "unknown"  # never checked, or the source could not be asked


class RepairAction(StrEnum):
    """How findings are repaired."""

    REDELIVER = "redeliver"  # deliver the last event of each file again
    COMPENSATE = "compensate"  # record an event with the state of the source


class Source(Base):
    """A service that holds files, and where it is asked. A deleted one is hidden while its rows are removed."""

    __tablename__ = "consistency_sources"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(16))
    url: Mapped[str] = mapped_column(Text)
    headers: Mapped[bytes | None] = mapped_column(LargeBinary)  # encrypted JSON
    grace_seconds: Mapped[int] = mapped_column(Integer)
    enabled: Mapped[bool]
    deleted: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime]


class Check(Base):
    """A check by inventory (`file_ids` is null) or of named files.

    `due_at` is the end of the lease of the process that runs it; `fence` rises with each claim. `cursor` is the last
    file that is compared. The counts are of the files up to it, and change in one transaction with it.
    """

    __tablename__ = "consistency_checks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID] = mapped_column(ForeignKey("consistency_sources.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    file_ids: Mapped[list[str] | None] = mapped_column(_JSON)
    accept_shrink: Mapped[bool]
    deep: Mapped[str | None] = mapped_column(String(11))  # which part of the blocks is read, as k/n
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    due_at: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    position: Mapped[int | None]  # the check is as of this position
    has_watermark: Mapped[bool] = mapped_column(server_default=false())
    total: Mapped[int | None]  # from the first page, or the number of named files
    cursor: Mapped[UUID | None]
    is_listed: Mapped[bool] = mapped_column(server_default=false())  # to its end; the differences are being applied
    listed: Mapped[int] = mapped_column(BigInteger, server_default="0")  # files of the listing
    compared: Mapped[int] = mapped_column(BigInteger, server_default="0")
    in_flight: Mapped[int] = mapped_column(BigInteger, server_default="0")
    expected: Mapped[int] = mapped_column(BigInteger, server_default="0")  # compared files that should exist
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")  # files that could not be asked about
    counts: Mapped[dict[str, int]] = mapped_column(JSON)  # differences by kind

    __table_args__ = (
        CheckConstraint(one_of("state", CheckState), name="state_known"),
        partial_index("ix_consistency_checks_due_at", "due_at", where="state = 'running'"),
        Index("ix_consistency_checks_source_id_id", "source_id", "id"),
    )


class Difference(Base):
    """A difference that an inventory has seen so far; it reaches the findings when the whole inventory is complete.

    `evidence` is null where the source agrees again about a finding that is not resolved.
    """

    __tablename__ = "consistency_differences"

    check_id: Mapped[UUID] = mapped_column(ForeignKey("consistency_checks.id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(_JSON)
    seen_at: Mapped[datetime]


class FileCheck(Base):
    """The last check of one file of a source, and when the next one is due.

    A claim moves `due_at` to the end of its lease, so that a lease which ends makes the file check due again.
    """

    __tablename__ = "consistency_file_checks"

    source_id: Mapped[UUID] = mapped_column(ForeignKey("consistency_sources.id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    due_at: Mapped[datetime | None]
    verdict: Mapped[str | None] = mapped_column(String(16))
    seen_at: Mapped[datetime | None]
    position: Mapped[int | None]  # of the file's last event at that time; 0 when there was none

    __table_args__ = (
        CheckConstraint(one_of("verdict", Verdict), name="verdict_known"),
        partial_index("ix_consistency_file_checks_source_id_due_at", "source_id", "due_at", where="due_at IS NOT NULL"),
    )


class Finding(Base):
    """A difference of one kind about one file of one source. A resolved one stays so: the next is a new finding."""

    __tablename__ = "consistency_findings"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID] = mapped_column(ForeignKey("consistency_sources.id", ondelete="CASCADE"))
    file_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON)
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)  # of the operator who accepted it

    __table_args__ = (
        CheckConstraint(one_of("state", FindingState), name="state_known"),
        CheckConstraint(one_of("kind", Kind), name="kind_known"),
        partial_index(
            "uq_consistency_findings_active", "source_id", "file_id", "kind", where="state <> 'resolved'", unique=True
        ),
        Index("ix_consistency_findings_file_id", "file_id"),
        Index("ix_consistency_findings_state_id", "state", "id"),
        Index("ix_consistency_findings_source_id_id", "source_id", "id"),
    )


class Repair(Base):
    """A plan to repair findings. `results` is null until it is applied.

    `due_at` is the end of the lease of the process that applies it.
    """

    __tablename__ = "consistency_repairs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    finding_ids: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    results: Mapped[list[dict[str, Any]] | None] = mapped_column(_JSON)

    __table_args__ = (CheckConstraint(one_of("action", RepairAction), name="action_known"),)
