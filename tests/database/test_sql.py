"""Rows that are bound as one value come back as they were, on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import BigInteger, Double, Text, Uuid, select
from sqlalchemy.types import TypeEngine

from app.database.engine import Database
from app.database.sql import bound_rows
from app.database.types import UtcDateTime

NOW = datetime(2026, 1, 15, 10, 30, 0, 123456, tzinfo=UTC)
COLUMNS: dict[str, TypeEngine[Any]] = {
    "number": BigInteger(),
    "file": Uuid(),
    "at": UtcDateTime(),
    "words": Text(),
    "ratio": Double(),
}


async def test_they_are_what_was_bound(database: Database) -> None:
    rows = [
        (2**53 - 1, uuid4(), NOW, 'quoted "words" {and} \\ more\nöä€', 0.1),
        (-7, None, None, None, None),
        (0, uuid4(), NOW + timedelta(days=1), "", 5.0),
    ]
    async with database.read() as session:
        table = bound_rows(session.get_bind().dialect, COLUMNS, rows)
        found = (await session.execute(select(*(table.c[name] for name in COLUMNS)))).all()
    assert sorted(tuple(row) for row in found) == sorted(rows)


async def test_there_may_be_none(database: Database) -> None:
    async with database.read() as session:
        table = bound_rows(session.get_bind().dialect, COLUMNS, [])
        assert (await session.execute(select(table.c.number))).all() == []
