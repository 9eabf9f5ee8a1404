"""Indexes that list the events that the sweep has passed by their type and by their file.

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-28
"""

from collections.abc import Sequence

from alembic import op
from app.database.migrator import build_index

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = ("event_type", "file_id")


def upgrade() -> None:
    """Apply."""
    for column in COLUMNS:
        build_index(
            f"ix_sync_events_retry_state_{column}_position",
            f"sync_events (retry_state, {column}, position) WHERE retry_state IS NOT NULL",
        )


def downgrade() -> None:
    """Take back."""
    for column in COLUMNS:
        op.execute(f"DROP INDEX ix_sync_events_retry_state_{column}_position")
