"""Ledgers of very many files, which the database makes itself."""

from sqlalchemy import text, update

from app.database.engine import Database
from app.events.models import LedgerHead, SweepCursor

_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :files)"
_IDS = {"postgresql": "CAST(lpad(to_hex(n), 32, '0') AS uuid)", "sqlite": "printf('%032x', n)"}
_SIZES = {"postgresql": "json_build_object('size', n)", "sqlite": "json_object('size', n)"}
_EVENTS = """
    INSERT INTO sync_events (id, position, file_id, event_type, created_at, created_by, processed, metadata)
    {numbers} SELECT {id}, n, {id}, 'upload', '2026-01-01 00:00:00', 'tester', TRUE, {size} FROM numbers
"""
_STATES = """
    INSERT INTO files (file_id, revision, last_event_id, last_event_type, last_position, updated_at)
    {numbers} SELECT {id}, 1, {id}, 'upload', n, '2026-01-01 00:00:00' FROM numbers
"""


async def fill(database: Database, files: int, *, with_events: bool = True) -> None:
    """Files 1, 2, 3, … were uploaded, each with its number as its size; without events there is only their state."""
    dialect = database.engine.dialect.name
    async with database.transaction() as session:
        for template in (_EVENTS, _STATES) if with_events else (_STATES,):
            statement = template.format(numbers=_NUMBERS, id=_IDS[dialect], size=_SIZES[dialect])
            await session.execute(text(statement), {"files": files})
        for table in (LedgerHead, SweepCursor):
            await session.execute(update(table).values(position=files))
        await session.execute(text("ANALYZE"))
