"""A page visits few events, wherever in the ledger those are that its filters leave."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.events import listing
from app.events.listing import EventList, EventPage
from app.events.models import LedgerHead, SweepCursor
from app.events.schemas import EventFilter
from tests.support.visited_rows import count_visited

EVENTS, PASSED, SWEPT = 40_000, 20_000, 38_000
FILE = UUID(int=2**100)
TIME = datetime(2026, 1, 1, tzinfo=UTC)
OLD_FILE = UUID(int=2**101)
# The first 100 events are the only deletions, the only ones of the file, and the only anomalies. Of the others, the
# first half is updates of one file: statistics say that these are frequent, but they are far from the newest events.
# All of the last 10,000 of that half are in retry or set aside.
FILL = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
    INSERT INTO sync_events (id, position, file_id, event_type, created_at, created_by, processed, anomaly, retry_state)
    SELECT {id}, i, CASE WHEN i <= 100 THEN {file} WHEN i <= 20000 THEN {old_file} ELSE {id} END,
           CASE WHEN i <= 100 THEN 'delete' WHEN i <= 20000 THEN 'update' ELSE 'upload' END,
           {time}, 'x', i <= 38000 AND (i > 20000 OR i < 10000 AND i % 4 = 0),
           CASE WHEN i <= 100 AND i % 4 = 0 THEN 'delete_of_unknown_file' END,
           CASE WHEN i > 20000 OR i < 10000 AND i % 4 = 0 THEN NULL
                WHEN i % 4 = 1 THEN 'failed' WHEN i % 4 = 2 THEN 'waiting' ELSE 'retrying' END
      FROM n
"""
SQLITE = {
    "id": "printf('%032x', i)",
    "file": f"'{FILE.hex}'",
    "old_file": f"'{OLD_FILE.hex}'",
    "time": "strftime('%Y-%m-%d %H:%M:%f000', '2026-01-01', i || ' seconds')",
}
POSTGRESQL = {
    "id": "CAST(lpad(to_hex(i), 32, '0') AS uuid)",
    "file": f"CAST('{FILE}' AS uuid)",
    "old_file": f"CAST('{OLD_FILE}' AS uuid)",
    "time": "TIMESTAMPTZ '2026-01-01 00:00Z' + i * INTERVAL '1 second'",
}
ONE: list[dict[str, Any]] = [
    {"file_id": FILE},
    {"file_id": OLD_FILE},
    {"event_type": "delete"},
    {"event_type": "update"},
    {"created_after": TIME + timedelta(seconds=EVENTS - 90)},
    {"created_before": TIME + timedelta(seconds=90)},
]
UNPROCESSED: list[dict[str, Any]] = [
    {"processed": False},
    *({"state": state} for state in ("pending", "retrying", "waiting", "failed")),
]
LATEST_PASSED = {"created_before": TIME + timedelta(seconds=PASSED)}
NOT_IN_RETRY: list[dict[str, Any]] = [
    {"processed": True},
    {"state": "processed"},
    {"anomaly": False},
    {"processed": True, "anomaly": False},
]
FULL = [*ONE, {"anomaly": True}, *UNPROCESSED, *NOT_IN_RETRY]
FULL += [filters | LATEST_PASSED for filters in NOT_IN_RETRY]
FULL += [{"event_type": "update"} | other for other in ONE[-2:]]
FULL += [first | other for first in UNPROCESSED for other in [*ONE, {"anomaly": False}]]
FULL += [first | other for first in NOT_IN_RETRY for other in ONE if "file_id" not in other]
FULL += [{"state": "processed"} | other for other in [*ONE, {"anomaly": True}, {"anomaly": False}, {"processed": True}]]
FULL += [{"event_type": "upload", "anomaly": True} | other for other in ({}, {"processed": True})]
OTHERS: list[dict[str, Any]] = [
    {"file_id": OLD_FILE, "event_type": "upload"},
    {"file_id": OLD_FILE, "anomaly": True},
    {"state": "failed", "event_type": "upload", "file_id": FILE},
    {"state": "processed", "event_type": "upload", "file_id": OLD_FILE},
]


@pytest_asyncio.fixture(loop_scope="session")
async def filled(database: Database) -> Database:
    """40,000 events: half was passed by the sweep, the last 2,000 are pending."""
    async with database.transaction() as session:
        await session.execute(text(FILL.format(**(SQLITE if database.is_sqlite else POSTGRESQL))))
        await session.execute(update(LedgerHead).values(position=EVENTS))
        await session.execute(update(SweepCursor).values(position=SWEPT))
        await session.execute(text("ANALYZE"))
    return database


async def test_pages_of_one_filter_or_of_unprocessed_events_are_full(filled: Database) -> None:
    for filters in FULL:
        page, visited = await _read(filled, filters)
        assert len(page.events) == 10 or page.following is None, filters
        assert visited <= 4 * 16 + 40, filters


async def test_other_pages_end_after_a_number_of_events(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "VISITED_EVENTS", 500)
    for filters in OTHERS:
        _page, visited = await _read(filled, filters)
        assert visited <= 2 * 500 + 200, filters


async def _read(database: Database, filters: dict[str, Any]) -> tuple[EventPage, float]:
    """A page, and how many events are visited for it, or on SQLite as many as its instructions allow."""

    def read(session: AsyncSession) -> Awaitable[EventPage]:
        return EventList(session).newest(EventFilter(**filters), limit=10, offset=5)

    return await count_visited(database, "sync_events", read)
