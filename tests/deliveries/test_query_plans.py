"""No statement of the webhooks reads all deliveries: with 40,000 of them every plan is made of index seeks."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.config import Settings
from app.database.engine import Database
from app.deliveries import catch_up
from app.deliveries.catch_up import FullLaneRepository
from app.deliveries.claim import ClaimRepository
from app.deliveries.cleanup import CleanupRepository
from app.deliveries.history import HistoryRepository, ProgressRepository
from app.deliveries.repository import DeliveryRepository
from app.deliveries.settlement_repository import SettlementRepository
from app.deliveries.stalled import ClockRepository, StalledRepository
from app.events.models import LedgerHead, SweepCursor
from app.operations.repository import StatusRepository
from app.subscriptions import lane
from app.subscriptions.models import FullLane, Ordering
from app.subscriptions.repository import OverviewRepository, SubscriptionRepository
from tests.conftest import BACKENDS
from tests.database.test_query_plans import plan_of
from tests.deliveries.support import add_subscription, settled

ROWS = 40_000
FILES = 2_000
NOW = datetime(2026, 6, 1, tzinfo=UTC)
LAST: Any = SimpleNamespace(settled_at=NOW, id=5)
SETTLED = [settled(n, 1) for n in range(1, 4)]

Query = Callable[[AsyncSession, UUID], Awaitable[Any]]

# Both databases make the numbers; a file's events are FILES apart. Half of the deliveries are pending.
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})"
FILE_ID = {
    "postgresql": "CAST(lpad(to_hex({n}), 32, '0') AS uuid)",
    "sqlite": "printf('%032x', {n})",
}
EVENTS = """
    INSERT INTO sync_events (id, position, file_id, event_type, created_at, created_by, processed)
    {numbers} SELECT {event}, n, {file}, 'update', '{now}', 'tester', {true} FROM numbers
"""
DELIVERIES = """
    INSERT INTO deliveries
           (subscription_id, position, file_id, status, due_at, claimed_by, fence, created_at, settled_at)
    {numbers}
    SELECT s.id, n, {file},
           CASE WHEN n % 2 = 0 THEN 'pending' WHEN n % 100 = 1 THEN 'dead' ELSE 'delivered' END,
           CASE WHEN n % 2 = 0 AND n <= {files} THEN '{now}'{instant} END,
           CASE WHEN n % 2 = 0 AND n <= 100 THEN 'other' END,
           1, '{now}', CASE WHEN n % 2 = 1 THEN '{now}'{instant} END
      FROM numbers, subscriptions AS s
"""
ATTEMPTS = """
    INSERT INTO delivery_attempts (delivery_id, number, started_at, duration_ms, outcome)
    SELECT id, 1, '{now}', 1, 'delivered' FROM deliveries WHERE status <> 'pending'
"""


async def _claim(session: AsyncSession, subscription_id: UUID) -> None:
    await ClaimRepository(session, "me").claim_due({subscription_id: 10}, NOW, timedelta(seconds=10))


async def _next_due(session: AsyncSession, subscription_id: UUID) -> None:
    await SettlementRepository(session, "me").mark_next_due([(subscription_id, UUID(int=number)) for number in (7, 8)])


async def _mark_full(session: AsyncSession, subscription_id: UUID) -> None:
    await FullLaneRepository(session).mark_full(await SubscriptionRepository(session).get_for_change(subscription_id))


async def _backlogs(session: AsyncSession, _subscription_id: UUID) -> None:
    await StatusRepository(await session.connection()).read_backlogs()


async def _refill(session: AsyncSession, subscription_id: UUID) -> None:
    subscription = await SubscriptionRepository(session).get_for_change(subscription_id)
    session.add(FullLane(subscription_id=subscription_id, file_id=UUID(int=7), cursor=ROWS // 2))
    await session.flush()
    await FullLaneRepository(session).refill(subscription, UUID(int=7), ROWS)


QUERIES: dict[str, Query] = {
    "due": lambda session, _id: ClaimRepository(session, "me").list_due(),
    "recipients": lambda session, id_: ClaimRepository(session, "me").list_recipients([id_]),
    "claimed": lambda session, id_: ClaimRepository(session, "me").count_claimed([id_]),
    "claim": _claim,
    "heartbeat": lambda session, _id: ClaimRepository(session, "me").extend([1, 2, 3], timedelta(seconds=10)),
    "release": lambda session, _id: ClaimRepository(session, "me").release(),
    "settle": lambda session, _id: SettlementRepository(session, "other").mark_attempted(SETTLED, NOW),
    "next of the lane": _next_due,
    "standings": lambda session, id_: SettlementRepository(session, "me").lock_health([id_], [id_]),
    "fan out a range": lambda session, _id: DeliveryRepository(session).add_swept(range(ROWS - 5, ROWS)),
    "fan out some": lambda session, _id: DeliveryRepository(session).add_swept([ROWS, 3, ROWS - 9]),
    "catch up": lambda session, id_: DeliveryRepository(session).add_missed(id_, after=ROWS - 1000, through=ROWS),
    "replay what is missing": lambda session, id_: DeliveryRepository(session).add_settled(id_, after=50, through=90),
    "replay what is there": lambda session, id_: DeliveryRepository(session).mark_range_pending(
        id_, after=50, through=90
    ),
    "redeliver": lambda session, _id: DeliveryRepository(session).mark_pending([11, 13]),
    "redeliver matching": lambda session, id_: _redeliver(session, id_, up_to_position=199, expected=2),
    "redeliver of a file": lambda session, id_: _redeliver(session, id_, file_id=UUID(int=301)),
    "redeliver some": lambda session, id_: _redeliver(session, id_, delivery_ids=[*range(2, 3000, 2)]),
    "redeliver the dead": lambda session, id_: DeliveryRepository(session).mark_dead_pending(id_),
    "behind": lambda session, _id: SubscriptionRepository(session).list_behind(10_000, 1000),
    "overloaded": lambda session, _id: SubscriptionRepository(session).list_overloaded(10_000),
    "many pending": lambda session, id_: SubscriptionRepository(session).has_pending(id_, 10_000),
    "drained lanes": lambda session, _id: FullLaneRepository(session).list_drained(),
    "full lanes": _mark_full,
    "refill": _refill,
    "stalled lanes": lambda session, id_: StalledRepository(session).mark_due(id_, Ordering.PER_FILE, [UUID(int=7)]),
    "too far ahead": lambda session, _id: ClockRepository(session).is_any_too_far(60),
    "due again": lambda session, _id: ClockRepository(session).mark_due(60),
    "prune attempts": lambda session, _id: CleanupRepository(session).delete_attempts(NOW - timedelta(days=9999), 1000),
    "backlogs by status": _backlogs,
    "how it stands": lambda session, id_: OverviewRepository(session).get(id_),
    "how all stand": lambda session, _id: OverviewRepository(session).list_oldest(status=None, limit=10, offset=0),
    "last before": lambda session, _id: OverviewRepository(session).find_last_before(NOW),
    "deliveries": lambda session, id_: _list(session, id_, status=None),
    "dead deliveries": lambda session, id_: _list(session, id_, status="dead"),
    "deliveries of a file": lambda session, id_: _list(session, id_, file_id=UUID(int=7)),
    "delivery": lambda session, _id: HistoryRepository(session).get(11),
    "attempts": lambda session, _id: HistoryRepository(session).list_attempts(11),
    "deliveries of an event": lambda session, _id: HistoryRepository(session).list_of_event(7, limit=10, offset=0),
    "progress of a file": lambda session, _id: ProgressRepository(session).list_of_file(UUID(int=7)),
    "remove deliveries": lambda session, id_: CleanupRepository(session).delete_deliveries(id_, 10),
    "remove a subscription": lambda session, id_: CleanupRepository(session).delete_subscription(id_),
    "prune deliveries": lambda session, _id: CleanupRepository(session).list_delivered(NOW, None, 10),
    "prune more deliveries": lambda session, _id: CleanupRepository(session).list_delivered(NOW, LAST, 10),
    "prune these": lambda session, _id: CleanupRepository(session).delete_superseded([3, 5, 7], NOW),
}


async def _redeliver(
    session: AsyncSession, subscription_id: UUID, *, up_to_position: int = 0, expected: int = 0, **wanted: Any
) -> None:
    await DeliveryRepository(session).mark_matching_pending(
        subscription_id, **wanted, up_to_position=up_to_position, expected=expected
    )


def _list(session: AsyncSession, subscription_id: UUID, **wanted: Any) -> Awaitable[Any]:
    wanted = {"status": None, "file_id": None, "before_position": ROWS // 2, **wanted}
    return HistoryRepository(session).list_newest(subscription_id, **wanted, limit=11, offset=0)


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A database that no other test shares: it grows large, and its statistics are those of many rows."""
    url: str = request.getfixturevalue("postgres_url" if request.param == "postgresql" else "sqlite_url")
    return url


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(Settings(_env_file=None, database_url=database_url))
    yield database
    await database.close()


@pytest_asyncio.fixture(loop_scope="session")
async def filled(database: Database) -> tuple[Database, UUID]:
    """Deliveries in every state, of files with twenty events each, and fresh statistics."""
    subscription_id = await add_subscription(database, after=0)
    dialect = database.engine.dialect.name
    for template in (EVENTS, DELIVERIES, ATTEMPTS, "ANALYZE"):
        statement = template.format(
            numbers=NUMBERS.format(rows=ROWS),
            now="2026-05-01 00:00:00.000000",
            event=FILE_ID[dialect].format(n="n"),
            file=FILE_ID[dialect].format(n=f"n % {FILES}"),
            files=FILES,
            true="true" if dialect == "postgresql" else "1",
            instant="::timestamptz" if dialect == "postgresql" else "",
        )
        async with database.transaction() as session:
            await (await session.connection()).exec_driver_sql(statement)
    async with database.transaction() as session:
        for table in (LedgerHead, SweepCursor):
            await session.execute(update(table).values(position=ROWS))
    return database, subscription_id


@pytest.mark.slow
async def test_no_statement_scans_the_deliveries(
    filled: tuple[Database, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "LANE_ROWS", 4)
    monkeypatch.setattr(lane, "LANE_ROWS", 4)
    monkeypatch.setattr(catch_up, "MAX_LANES", 2)
    database, subscription_id = filled
    failures = []
    for name, query in QUERIES.items():
        plan = await plan_of(database, _bound(query, subscription_id))
        if scans := _scans(plan.splitlines()):
            failures.append(f"{name}: {scans}\n{plan}")
    assert not failures, "\n\n".join(failures)


def _bound(query: Query, subscription_id: UUID) -> Callable[[AsyncSession], Awaitable[Any]]:
    return lambda session: query(session, subscription_id)


def _scans(lines: Sequence[str]) -> list[str]:
    """Full reads: PostgreSQL's sequential scans of large tables, and SQLite's scans, of an index too.

    What is claimed is never much, and it has an index of its own.
    """
    tables = ("sync_events", "deliveries", "delivery_attempts")
    scans = [f"Seq Scan on {table}" for table in tables] + [f"SCAN {table}" for table in tables]
    large = (line for line in lines if "ix_deliveries_claimed" not in line)
    return [line for line in large if any(scan in line for scan in scans)]
