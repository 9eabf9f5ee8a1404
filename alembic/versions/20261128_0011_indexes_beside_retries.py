"""Indexes that list the events of a type or of a file that are in no retry, past any number of others.

They serve what the indexes by type, of anomalies and of plain events did, so these go.

Revision ID: 0011
Revises: 0010
Create Date: 2026-11-28
"""

from collections.abc import Sequence

from alembic import op
from app.database.migrator import build_index

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NEW = {
    "plain_event_type_position": "(event_type, position) WHERE retry_state IS NULL AND anomaly IS NULL",
    "anomaly_event_type_position": "(event_type, position) WHERE anomaly IS NOT NULL",
    "no_retry_file_id_position": "(file_id, position) WHERE retry_state IS NULL",
}
OLD = {
    "event_type_position": "(event_type, position)",
    "anomaly_position": "(position) WHERE anomaly IS NOT NULL",
    "plain_position": "(position) WHERE retry_state IS NULL AND anomaly IS NULL",
}


def upgrade() -> None:
    """Apply."""
    _replace(OLD, NEW)


def downgrade() -> None:
    """Take back."""
    _replace(NEW, OLD)


def _replace(old: dict[str, str], new: dict[str, str]) -> None:
    for name, definition in new.items():
        build_index(f"ix_sync_events_{name}", f"sync_events {definition}")
    for name in old:
        op.execute(f"DROP INDEX IF EXISTS ix_sync_events_{name}")
