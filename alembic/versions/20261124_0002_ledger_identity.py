"""The ledger's identity, which the cursors of the change feed name.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-24
"""

from collections.abc import Sequence
from uuid import uuid4

import sqlalchemy as sa

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    identity = op.create_table(
        "ledger_identity",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("ledger_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_identity"),
        sa.CheckConstraint("id = 1", name="ck_ledger_identity_one_row"),
    )
    op.bulk_insert(identity, [{"id": 1, "ledger_id": uuid4()}])


def downgrade() -> None:
    """Take back. Cursors given out so far are refused once the migration is applied again."""
    op.drop_table("ledger_identity")
