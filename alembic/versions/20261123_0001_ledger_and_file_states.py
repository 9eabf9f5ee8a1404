"""The ledger, its head, the sweep's cursor and the file states.

Revision ID: 0001
Revises:
Create Date: 2026-11-23
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

import app.database.types
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = app.database.types.UtcDateTime()


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "sync_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.String(16), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("metadata", sa.JSON(none_as_null=True)),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("processed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("processed_at", INSTANT),
        sa.Column("anomaly", sa.String(64)),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("retry_state", sa.String(16)),
        sa.Column("retry_at", INSTANT),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_sync_events"),
        sa.UniqueConstraint("position", name="uq_sync_events_position"),
        sa.CheckConstraint("position > 0", name="ck_sync_events_position_positive"),
        sa.CheckConstraint("event_type IN ('upload', 'delete', 'update')", name="ck_sync_events_event_type_known"),
        sa.CheckConstraint(
            "retry_state IN ('retrying', 'waiting', 'failed')", name="ck_sync_events_retry_state_known"
        ),
        sa.CheckConstraint(
            "NOT (processed AND retry_state IS NOT NULL)", name="ck_sync_events_processed_is_settled"
        ),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("ix_sync_events_file_id_position", "sync_events", ["file_id", "position"])
    op.create_index("ix_sync_events_event_type_position", "sync_events", ["event_type", "position"])
    op.create_index("ix_sync_events_created_at_position", "sync_events", ["created_at", "position"])
    _create_partial_index(
        "uq_sync_events_created_by_idempotency_key", ["created_by", "idempotency_key"], "idempotency_key", unique=True
    )
    _create_partial_index("ix_sync_events_retry_state_position", ["retry_state", "position"], "retry_state")
    _create_partial_index("ix_sync_events_retry_at", ["retry_at"], "retry_at")
    _create_partial_index("ix_sync_events_retry_file_id_position", ["file_id", "position"], "retry_at")
    _create_partial_index("ix_sync_events_anomaly_position", ["position"], "anomaly")
    head = op.create_table(
        "ledger_head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_head"),
        sa.CheckConstraint("id = 1", name="ck_ledger_head_one_row"),
    )
    cursor = op.create_table(
        "sweep_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweep_cursor"),
        sa.CheckConstraint("id = 1", name="ck_sweep_cursor_one_row"),
    )
    op.create_table(
        "files",
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("last_event_id", sa.Uuid(), nullable=False),
        sa.Column("last_event_type", sa.String(16), nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("file_id", name="pk_files"),
        postgresql_with={"fillfactor": 80},
    )
    op.bulk_insert(head, [{"id": 1, "position": 0, "created_at": datetime.fromtimestamp(0, UTC)}])
    op.bulk_insert(cursor, [{"id": 1, "position": 0}])


def _create_partial_index(name: str, columns: list[str], not_null: str, *, unique: bool = False) -> None:
    condition = sa.text(f"{not_null} IS NOT NULL")
    op.create_index(name, "sync_events", columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


def downgrade() -> None:
    """Take back."""
    for table in ("files", "sweep_cursor", "ledger_head", "sync_events"):
        op.drop_table(table)
