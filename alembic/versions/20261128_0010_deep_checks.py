"""Checks that read blocks.

Revision ID: 0010
Revises: 0009
Create Date: 2026-11-28
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.add_column("consistency_checks", sa.Column("deep", sa.String(11)))


def downgrade() -> None:
    """Undo."""
    op.drop_column("consistency_checks", "deep")
