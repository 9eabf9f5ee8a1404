"""No hot query reads the whole ledger: every plan on both databases, with 100,000 events, is made of index seeks."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.changes.cursor import ChangeFilter
from app.changes.repository import ChangeRepository
from app.consistency.file_check_repository import FileCheckRepository
from app.database.engine import Database
from app.errors import NotFound
from app.events.group import EventRecord
from app.events.ledger_repository import LedgerRepository
from app.events.listing import EventList
from app.events.models import EventType, LedgerHead, SweepCursor
from app.events.repository import EventRepository
from app.events.schemas import EventFilter, RequeueFilter
from app.events.search import EVERYTHING
from app.files.repository import FileRepository
from app.operations.repository import StatusRepository
from app.sweep.repository import SweepRepository
from tests.events.support import open_ledger, record

EVENTS, BACKLOG, SET_ASIDE = 100_000, 2_000, 1_000
FILE = uuid4()
NOW = datetime(2026, 1, 15, tzinfo=UTC)
PAST = NOW - timedelta(days=9999)


async def _append(session: AsyncSession) -> None:
    await LedgerRepository(await session.connection()).add_events([record(idempotency_key="key")])


async def _get(session: AsyncSession) -> None:
    with suppress(NotFound):
        await EventRepository(session).get(uuid4())


async def _overview(session: AsyncSession) -> None:
    repository = StatusRepository(await session.connection())
    await repository.get_status()
    await repository.read_backlogs()


async def _throughput(session: AsyncSession) -> None:
    times = [PAST + timedelta(minutes=number) for number in range(121)]
    await StatusRepository(await session.connection()).list_positions(times)


async def _set_aside(session: AsyncSession) -> None:
    await EventRepository(session, EVENTS).list_set_aside_groups()


Query = Callable[[AsyncSession], Awaitable[Any]]
QUERIES: dict[str, Query] = {
    "append": _append,
    "get": _get,
    "get together": lambda session: EventRepository(session).list_by_ids([uuid4(), uuid4()]),
    "history": lambda session: EventList(session).history(FILE, limit=1),
    "first page": lambda session: _list(session, EVERYTHING),
    "deep page": lambda session: _list(session, EVERYTHING, offset=75_000),
    "deep history": lambda session: EventList(session).history(FILE, limit=10, offset=5000),
    "deep page of a type": lambda session: _list(session, EventFilter(event_type="delete"), offset=5000),
    "file": lambda session: _list(session, EventFilter(file_id=FILE)),
    "type": lambda session: _list(session, EventFilter(event_type="delete")),
    "processed": lambda session: _list(session, EventFilter(processed=True)),
    "unprocessed": lambda session: _list(session, EventFilter(processed=False)),
    "unprocessed of a file": lambda session: _list(session, EventFilter(processed=False, file_id=FILE)),
    "failed": lambda session: _list(session, EventFilter(state="failed")),
    "pending": lambda session: _list(session, EventFilter(state="pending")),
    "failed of a type": lambda session: _list(session, EventFilter(state="failed", event_type="delete")),
    "waiting of a file": lambda session: _list(session, EventFilter(state="waiting", file_id=FILE)),
    "unprocessed of a type": lambda session: _list(session, EventFilter(processed=False, event_type="delete")),
    "processed of a type": lambda session: _list(
        session, EventFilter(processed=True, event_type="delete"), offset=9000
    ),
    "processed of a file": lambda session: _list(session, EventFilter(processed=True, file_id=FILE)),
    "without anomaly": lambda session: _list(session, EventFilter(anomaly=False)),
    "anomalies": lambda session: _list(session, EventFilter(anomaly=True)),
    "before": lambda session: _list(session, EventFilter(created_before=PAST)),
    "after": lambda session: _list(session, EventFilter(created_after=PAST)),
    "head of the feed": lambda session: ChangeRepository(session).get_head(),
    "changes": lambda session: _follow(session, ChangeFilter()),
    "changes of a type": lambda session: _follow(session, ChangeFilter(frozenset({EventType.UPDATE}))),
    "changes of two types": lambda session: _follow(
        session, ChangeFilter(frozenset({EventType.UPDATE, EventType.DELETE}))
    ),
    "changes of a file": lambda session: _follow(session, ChangeFilter(file_id=FILE)),
    "changes of a type of a file": lambda session: _follow(session, ChangeFilter(frozenset({EventType.UPDATE}), FILE)),
    "age of a change": lambda session: ChangeRepository(session).get_age_seconds(15_000),
    "overview": _overview,
    "set aside": _set_aside,
    "throughput": _throughput,
    "file state": lambda session: FileRepository(session).find(FILE),
    "has work": lambda session: SweepRepository(session, timedelta(seconds=5)).has_work(NOW),
    "due": lambda session: SweepRepository(session, timedelta(seconds=5)).list_due(NOW, 1000),
    "next batch": lambda session: SweepRepository(session).list_after(EVENTS - BACKLOG, 1000),
    "holds": lambda session: SweepRepository(session, timedelta(seconds=5)).list_holds([FILE, uuid4()], NOW),
    "ahead": lambda session: SweepRepository(session).read_ahead(),
    "events of a batch": lambda session: SweepRepository(session).list_at(range(1, 4)),
    "mark a range": lambda session: SweepRepository(session).mark_processed(range(1, 4)),
    "project a range": lambda session: FileRepository(session).add_events(range(1, 4)),
    "flag a range": lambda session: FileRepository(session).mark_anomalies(range(1, 4)),
    "mark": lambda session: SweepRepository(session).mark_processed([3, 1, 2]),
    "project": lambda session: FileRepository(session).add_events([3, 1, 2]),
    "flag": lambda session: FileRepository(session).mark_anomalies([3, 1, 2]),
    "requeue all": lambda session: _requeue(session, SET_ASIDE),
    "requeue by error": lambda session: _requeue(session, last_error="broken"),
    "requeue a type": lambda session: _requeue(session, event_type="delete"),
    "requeue a file": lambda session: _requeue(session, file_id=FILE, event_type="delete"),
    "requeue some": lambda session: _requeue(session, event_ids=[uuid4() for _ in range(1000)], file_id=FILE),
    "note the files of a range": lambda session: FileCheckRepository(session).add_events(range(1, 4), NOW),
    "note the files": lambda session: FileCheckRepository(session).add_events([3, 1, 2], NOW),
}


async def _requeue(session: AsyncSession, expected: int = 0, **wanted: Any) -> None:
    """The first one requeues what is set aside, the others find that nothing is left."""
    await EventRepository(session).requeue_all(RequeueFilter(**wanted), up_to_position=EVENTS, expected=expected)


def _list(session: AsyncSession, wanted: EventFilter, offset: int = 0) -> Awaitable[Any]:
    return EventList(session).newest(wanted, limit=10, offset=offset)


def _follow(session: AsyncSession, change_filter: ChangeFilter) -> Awaitable[Any]:
    return ChangeRepository(session).list_after(change_filter, after=5000, head=EVENTS, limit=1000)


# Both databases make the numbers. Each tenth event is of the large file; the others are of a file each.
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows)"
UUIDS = {"postgresql": "CAST(lpad(to_hex(n), 32, '0') AS uuid)", "sqlite": "printf('%032x', n)"}
EVENT_ROWS = """
    INSERT INTO sync_events (id, position, file_id, event_type, created_at, created_by, processed, anomaly)
    {numbers} SELECT {uuid}, n, CASE WHEN n % 10 = 0 THEN {file} ELSE {uuid} END,
                     CASE WHEN n % 7 = 0 THEN 'delete' ELSE 'upload' END, CURRENT_TIMESTAMP, 'tester', TRUE,
                     CASE WHEN n % 7 = 0 THEN 'delete_of_unknown_file' END FROM numbers
"""
FILE_ROWS = """
    INSERT INTO files (file_id, revision, last_event_id, last_event_type, last_position, updated_at)
    SELECT file_id, count(*), {file}, 'upload', max(position), max(created_at) FROM sync_events GROUP BY file_id
"""


@pytest.fixture
async def filled(database: Database) -> Database:
    """A ledger with a backlog, some retries and one large file, and fresh statistics."""
    dialect = database.engine.dialect.name
    file = f"CAST('{FILE}' AS uuid)" if dialect == "postgresql" else f"'{FILE.hex}'"
    swept = {"rows": EVENTS - BACKLOG}
    async with database.transaction() as session:
        for template in (EVENT_ROWS, FILE_ROWS):
            statement = template.format(numbers=NUMBERS, uuid=UUIDS[dialect], file=file)
            await session.execute(text(statement), swept)
        for table in (LedgerHead, SweepCursor):
            await session.execute(update(table).values(position=EVENTS - BACKLOG))
    await open_ledger(database).append([_event(n) for n in range(BACKLOG)])
    async with database.transaction() as session:
        late = "UPDATE sync_events SET processed = false, retry_state = 'waiting', retry_at = created_at"
        await session.execute(text(f"{late} WHERE position BETWEEN 100 AND 300"))
        set_aside = "UPDATE sync_events SET processed = false, retry_state = 'failed', last_error = 'broken'"
        await session.execute(text(f"{set_aside} WHERE position > 1000 AND position <= {1000 + SET_ASIDE}"))
        await session.execute(text("ANALYZE"))
    return database


def _event(number: int) -> EventRecord:
    event_type = EventType.UPLOAD if number % 7 else EventType.DELETE
    return record(file_id=FILE if number % 10 == 0 else uuid4(), event_type=event_type)


async def plan_of(database: Database, query: Query) -> str:
    """The plans of every statement that `query` sends."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        statements.append((statement, parameters))

    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    async with database.transaction() as session:
        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        await query(session)
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
        connection = await session.connection()
        plans = []
        for statement, parameters in statements:
            if not statement.startswith("BEGIN"):
                rows = await connection.exec_driver_sql(f"{explain} {statement}", parameters)
                plans += [str(row[-1]) for row in rows]
    assert plans
    return "\n".join(plans)


@pytest.mark.slow
async def test_no_hot_query_scans_or_sorts_the_ledger(filled: Database) -> None:
    for name, query in QUERIES.items():
        plan = await plan_of(filled, query)
        scans = [line for line in plan.splitlines() if _is_scan(line)]
        assert not scans, f"{name}:\n{plan}"


def _is_scan(line: str) -> bool:
    """A full read of the events: PostgreSQL's sequential scan, or SQLite's scan without an index."""
    return "Seq Scan on sync_events" in line or (line.startswith("SCAN sync_events") and "USING" not in line)
