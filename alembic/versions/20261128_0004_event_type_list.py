"""The event types of a subscription as a JSON list, which the database derives from their text.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-28
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

POSTGRESQL = """((('["'::text || replace((event_types)::text, ' '::text, '","'::text)) || '"]'::text))::jsonb"""
SQLITE = """'["' || replace(event_types, ' ', '","') || '"]'"""


def upgrade() -> None:
    """Apply. A replica of the release before writes the text, and the list follows it in the same statement."""
    if op.get_context().dialect.name == "postgresql":
        # It rewrites a table of a few hundred rows.
        _add_column("JSONB", POSTGRESQL, "STORED")
    else:
        _add_column("JSON", SQLITE, "VIRTUAL")


def _add_column(type_: str, expression: str, kind: str) -> None:
    definition = f"{type_} GENERATED ALWAYS AS ({expression}) {kind} NOT NULL"
    op.execute(f"ALTER TABLE subscriptions ADD COLUMN event_type_list {definition}")


def downgrade() -> None:
    """Take back. The text is as it was."""
    op.execute("ALTER TABLE subscriptions DROP COLUMN event_type_list")
