"""What the database's check constraints allow is what the enums of the code have."""

import re

from sqlalchemy import CheckConstraint, Connection, inspect

import app.consistency.models
import app.events.models
import app.files.models
import app.subscriptions.models  # noqa: F401 - models register themselves with the metadata
from app.database.engine import Database
from app.database.types import Base
from app.events.models import EventType
from app.subscriptions.models import Subscription

_CHOICE = re.compile(r"'([a-z_-]+)'")
_IS_LIST = re.compile(r" IN \(|= ANY ", re.IGNORECASE)


async def test_a_new_choice_has_its_migration(database: Database) -> None:
    declared = {
        _short(table.name, constraint.name): sorted(_CHOICE.findall(str(constraint.sqltext)))
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint) and _IS_LIST.search(str(constraint.sqltext))
    }
    async with database.read() as session:
        present = await (await session.connection()).run_sync(_read_choices)
    assert declared == present, "a migration has to replace these check constraints"
    assert declared["sync_events.event_type_known"] == sorted(EventType)


def _read_choices(connection: Connection) -> dict[str, list[str]]:
    inspector = inspect(connection)
    return {
        _short(table, found["name"]): sorted(_CHOICE.findall(found["sqltext"]))
        for table in Base.metadata.tables
        for found in inspector.get_check_constraints(table)
        if _IS_LIST.search(found["sqltext"])
    }


def _short(table: str, name: object) -> str:
    """`table.constraint`: the first migrations name some constraints with the prefix of the convention twice."""
    prefix, short = f"ck_{table}_", str(name)
    while short.startswith(prefix):
        short = short.removeprefix(prefix)
    return f"{table}.{short}"


def test_all_event_types_fit_into_the_columns() -> None:
    assert len(" ".join(EventType)) <= Subscription.event_types.type.length
    assert not any(" " in one or '"' in one for one in EventType)
