"""An index of the events that are neither in retry nor set aside nor anomalies, to list them past any number of others.

Revision ID: 0008
Revises: 0007
Create Date: 2026-11-28
"""

from collections.abc import Sequence

from alembic import op
from app.database.migrator import build_index

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAME = "ix_sync_events_plain_position"


def upgrade() -> None:
    """Apply."""
    build_index(NAME, "sync_events (position) WHERE retry_state IS NULL AND anomaly IS NULL")


def downgrade() -> None:
    """Take back."""
    op.execute(f"DROP INDEX {NAME}")
