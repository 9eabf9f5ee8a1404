"""Consistency checks: sources, checks, looks at single files, findings.

Revision ID: 0007
Revises: 0006
Create Date: 2026-11-28
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

import app.database.types
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = app.database.types.UtcDateTime()
JSON = sa.JSON(none_as_null=True)
KINDS = "'missing', 'orphaned', 'missing_block', 'orphaned_block', 'stale', 'wrong_size', 'wrong_hash'"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "consistency_sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("headers", sa.LargeBinary()),
        sa.Column("grace_seconds", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("deleted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consistency_sources"),
    )
    op.create_table(
        "consistency_checks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("file_ids", JSON),
        sa.Column("accept_shrink", sa.Boolean(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("due_at", INSTANT),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("position", sa.BigInteger()),
        sa.Column("has_watermark", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("total", sa.BigInteger()),
        sa.Column("cursor", sa.Uuid()),
        sa.Column("is_listed", sa.Boolean(), server_default=sa.false(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in ("listed", "compared", "in_flight", "expected", "failed")
        ),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consistency_checks"),
        _source("consistency_checks"),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'incomplete', 'suspect', 'cancelled')",
            name="state_known",
        ),
    )
    op.create_table(
        "consistency_differences",
        sa.Column("check_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("evidence", JSON),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("check_id", "file_id", "kind", name="pk_consistency_differences"),
        sa.ForeignKeyConstraint(
            ["check_id"],
            ["consistency_checks.id"],
            name="fk_consistency_differences_check_id_consistency_checks",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "consistency_file_checks",
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", INSTANT),
        sa.Column("verdict", sa.String(16)),
        sa.Column("seen_at", INSTANT),
        sa.Column("position", sa.BigInteger()),
        sa.PrimaryKeyConstraint("source_id", "file_id", name="pk_consistency_file_checks"),
        _source("consistency_file_checks"),
        sa.CheckConstraint(
            "verdict IN ('consistent', 'inconsistent', 'in_flight', 'unknown')",
            name="verdict_known",
        ),
    )
    op.create_table(
        "consistency_findings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", INSTANT, nullable=False),
        sa.Column("last_seen_at", INSTANT, nullable=False),
        sa.Column("resolved_at", INSTANT),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_consistency_findings"),
        _source("consistency_findings"),
        sa.CheckConstraint(
            "state IN ('suspected', 'open', 'resolved', 'accepted')", name="state_known"
        ),
        sa.CheckConstraint(f"kind IN ({KINDS})", name="kind_known"),
    )
    _create_indexes()


def _create_indexes() -> None:
    index = op.create_index
    index("ix_consistency_checks_due_at", "consistency_checks", ["due_at"], **_where("state = 'running'"))
    index("ix_consistency_checks_source_id_id", "consistency_checks", ["source_id", "id"])
    index(
        "ix_consistency_file_checks_source_id_due_at",
        "consistency_file_checks",
        ["source_id", "due_at"],
        **_where("due_at IS NOT NULL"),
    )
    index(
        "uq_consistency_findings_active",
        "consistency_findings",
        ["source_id", "file_id", "kind"],
        unique=True,
        **_where("state <> 'resolved'"),
    )
    index("ix_consistency_findings_file_id", "consistency_findings", ["file_id"])
    index("ix_consistency_findings_state_id", "consistency_findings", ["state", "id"])
    index("ix_consistency_findings_source_id_id", "consistency_findings", ["source_id", "id"])


def _source(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["source_id"],
        ["consistency_sources.id"],
        name=f"fk_{table}_source_id_consistency_sources",
        ondelete="CASCADE",
    )


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def downgrade() -> None:
    """Take back."""
    for name in ("findings", "file_checks", "differences", "checks", "sources"):
        op.drop_table(f"consistency_{name}")
