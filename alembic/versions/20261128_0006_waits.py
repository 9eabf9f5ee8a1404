"""How long a delivery or a subscription waits, beside until when; a locked subscription keeps no sweep waiting.

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-28
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FOREIGN_KEY = "fk_deliveries_subscription_id_subscriptions"  # SQLite locks no rows, and keeps it
COLUMNS = (("deliveries", "wait_seconds"), ("subscriptions", "slow_seconds"))


def upgrade() -> None:
    """Apply. Empty columns cost no rewrite."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(FOREIGN_KEY, "deliveries", type_="foreignkey")
    for table, name in COLUMNS:
        op.add_column(table, sa.Column(name, sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take back. SQLite drops a column in place too."""
    for table, name in COLUMNS:
        op.drop_column(table, name)
    if op.get_context().dialect.name == "postgresql":
        op.create_foreign_key(
            FOREIGN_KEY, "deliveries", "subscriptions", ["subscription_id"], ["id"], ondelete="CASCADE"
        )
