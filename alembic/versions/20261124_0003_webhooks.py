"""Webhooks: subscriptions, their deliveries, and the attempts at these.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-24
"""

from collections.abc import Sequence

import sqlalchemy as sa

import app.database.types
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = app.database.types.UtcDateTime()
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("event_types", sa.String(64), nullable=False),
        sa.Column("ordering", sa.String(16), nullable=False),
        sa.Column("max_concurrency", sa.SmallInteger(), nullable=False),
        sa.Column("rate_limit_per_second", sa.Double()),
        sa.Column("headers", sa.LargeBinary()),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("status_reason", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary()),
        sa.Column("old_secret_until", INSTANT),
        sa.Column("start_position", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("replay_cursor", sa.BigInteger()),
        sa.Column("replay_until", sa.BigInteger()),
        sa.Column("failing_since", INSTANT),
        sa.Column("slow_until", INSTANT),
        sa.Column("slow_count", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("next_send_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.CheckConstraint("status IN ('active', 'paused', 'disabled', 'deleted')", name="ck_subscriptions_status_known"),
        sa.CheckConstraint("ordering IN ('per_file', 'none')", name="ck_subscriptions_ordering_known"),
        sa.CheckConstraint("max_concurrency > 0", name="ck_subscriptions_max_concurrency_positive"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("due_at", INSTANT),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("settled_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name="fk_deliveries_subscription_id_subscriptions",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("subscription_id", "position", name="uq_deliveries_subscription_id_position"),
        sa.CheckConstraint("status IN ('pending', 'delivered', 'dead')", name="ck_deliveries_status_known"),
        sa.CheckConstraint(
            "status = 'pending' OR (due_at IS NULL AND claimed_by IS NULL)", name="ck_deliveries_settled_is_not_due"
        ),
    )
    index = op.create_index
    index("ix_deliveries_due", "deliveries", ["subscription_id", "due_at", "position"], **_where("due_at IS NOT NULL"))
    index(
        "ix_deliveries_pending_file",
        "deliveries",
        ["subscription_id", "file_id", "position"],
        **_where("status = 'pending'"),
    )
    index(
        "ix_deliveries_claimed", "deliveries", ["subscription_id", "claimed_by"], **_where("claimed_by IS NOT NULL")
    )
    index(
        "ix_deliveries_subscription_id_status_position", "deliveries", ["subscription_id", "status", "position"]
    )
    index("ix_deliveries_position", "deliveries", ["position"])
    index("ix_deliveries_dead_file", "deliveries", ["file_id", "subscription_id"], **_where("status = 'dead'"))
    index("ix_deliveries_file_id_position", "deliveries", ["file_id", "position"])
    index("ix_deliveries_settled_at", "deliveries", ["settled_at"], **_where("settled_at IS NOT NULL"))
    op.create_table(
        "full_lanes",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "file_id", name="pk_full_lanes"),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name="fk_full_lanes_subscription_id_subscriptions",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("delivery_id", SERIAL, nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("status_code", sa.SmallInteger()),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("response", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_delivery_attempts"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name="fk_delivery_attempts_delivery_id_deliveries", ondelete="CASCADE"
        ),
    )
    index("ix_delivery_attempts_delivery_id", "delivery_attempts", ["delivery_id"])
    index("ix_delivery_attempts_started_at", "delivery_attempts", ["started_at"])


def downgrade() -> None:
    """Take back: subscriptions and their history are gone; the ledger is as it was."""
    for table in ("delivery_attempts", "full_lanes", "deliveries", "subscriptions"):
        op.drop_table(table)


def _where(condition: str) -> dict[str, sa.TextClause]:
    return {f"{dialect}_where": sa.text(condition) for dialect in ("postgresql", "sqlite")}
