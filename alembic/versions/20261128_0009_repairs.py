"""Repairs of consistency findings.

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-28
"""

from collections.abc import Sequence

import sqlalchemy as sa

import app.database.types
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = app.database.types.UtcDateTime()


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "consistency_repairs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("finding_ids", sa.JSON(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("due_at", INSTANT),
        sa.Column("results", sa.JSON(none_as_null=True)),
        sa.PrimaryKeyConstraint("id", name="pk_consistency_repairs"),
        sa.CheckConstraint("action IN ('redeliver', 'compensate')", name="action_known"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("consistency_repairs")
