"""What is old and needed by nobody is deleted; on both databases."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select, update

from app.database.engine import BackgroundJob, Database, OtherReplicaWorks, job_transaction
from app.deliveries.cleanup import CleanupRepository, Pruning, SettledRow
from app.subscriptions.models import Attempt, Delivery
from tests.deliveries.support import add_subscription, list_deliveries, make_sweeper
from tests.events.support import add_events
from tests.support.marks import on_postgresql

FILE, OTHER = uuid4(), uuid4()
OLD = datetime.now(UTC) - timedelta(days=31)


async def deliver(database: Database, subscription_id: UUID, *, status: str = "delivered", at: datetime = OLD) -> None:
    """As if everything pending had been settled then, each with one attempt."""
    async with database.transaction() as session:
        pending = Delivery.subscription_id == subscription_id, Delivery.status == "pending"
        ids = (await session.scalars(select(Delivery.id).where(*pending))).all()
        await session.execute(update(Delivery).where(*pending).values(status=status, due_at=None, settled_at=at))
        for delivery_id in ids:
            attempt = {"delivery_id": delivery_id, "number": 1, "started_at": at, "duration_ms": 1, "outcome": status}
            await session.execute(insert(Attempt).values(**attempt))


async def kept_positions(database: Database, subscription_id: UUID) -> list[int]:
    return [one.position for one in await list_deliveries(database, subscription_id)]


async def count_attempts(database: Database) -> int:
    async with database.read() as session:
        return len((await session.scalars(select(Attempt.id))).all())


async def test_of_each_file_the_last_delivered_one_stays(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, *((FILE, "update") for _ in range(6)), (OTHER, "upload"))
    await make_sweeper(database).run_once()
    await deliver(database, subscription_id)
    await Pruning(database, timedelta(days=30), chunk_rows=2).run_once()
    assert await kept_positions(database, subscription_id) == [6, 7]
    assert await count_attempts(database) == 0


async def test_dead_ones_stay_without_their_attempts(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, *((FILE, "update") for _ in range(3)))
    await make_sweeper(database).run_once()
    await deliver(database, subscription_id, status="dead")
    await add_events(database, (FILE, "update"))
    await make_sweeper(database).run_once()
    await deliver(database, subscription_id)
    await Pruning(database, timedelta(days=30), chunk_rows=2).run_once()
    assert await kept_positions(database, subscription_id) == [1, 2, 3, 4]
    assert await count_attempts(database) == 0


async def test_what_is_not_old_or_not_settled_stays(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, *((FILE, "update") for _ in range(3)))
    await make_sweeper(database).run_once()
    await deliver(database, subscription_id, at=datetime.now(UTC) - timedelta(days=29))
    await add_events(database, (FILE, "update"))
    await make_sweeper(database).run_once()
    await Pruning(database, timedelta(days=30)).run_once()
    assert await kept_positions(database, subscription_id) == [1, 2, 3, 4]
    assert await count_attempts(database) == 3


async def test_each_subscription_has_a_last_one_of_its_own(database: Database) -> None:
    first, second = await add_subscription(database), await add_subscription(database, event_types="upload")
    await add_events(database, (FILE, "upload"), (FILE, "update"))
    await make_sweeper(database).run_once()
    await deliver(database, first)
    await deliver(database, second)
    await Pruning(database, timedelta(days=30)).run_once()
    assert await kept_positions(database, first) == [2]
    assert await kept_positions(database, second) == [1]


async def test_one_replica_at_a_time_prunes(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, (FILE, "upload"), (FILE, "update"))
    await make_sweeper(database).run_once()
    await deliver(database, subscription_id)
    if not database.is_sqlite:
        async with job_transaction(database, BackgroundJob.PRUNE):
            await Pruning(database, timedelta(days=30)).run_once()
        assert await count_attempts(database) == 2
    await Pruning(database, timedelta(days=30)).run_once()
    assert await kept_positions(database, subscription_id) == [2]


@on_postgresql
async def test_nobody_else_looks_through_what_stays_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, (FILE, "upload"), (OTHER, "upload"))
    await make_sweeper(database).run_once()
    await deliver(database, subscription_id)
    list_delivered = CleanupRepository.list_delivered
    turns: list[bool] = []

    async def look(
        repository: CleanupRepository, before: datetime, last: SettledRow | None, limit: int
    ) -> Sequence[SettledRow]:
        try:
            async with job_transaction(database, BackgroundJob.PRUNE):
                turns.append(True)
        except OtherReplicaWorks:
            turns.append(False)
        return await list_delivered(repository, before, last, limit)

    monkeypatch.setattr(CleanupRepository, "list_delivered", look)
    await Pruning(database, timedelta(days=30), chunk_rows=1).run_once()
    assert turns == [False, False, False], "two pages of what stays, and the end"


async def test_what_stays_is_passed_over_page_by_page(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, (FILE, "upload"), (OTHER, "upload"))
    await make_sweeper(database).run_once()
    await deliver(database, subscription_id)
    async with database.read() as session:
        [first] = await CleanupRepository(session).list_delivered(datetime.now(UTC), None, 1)
        [second] = await CleanupRepository(session).list_delivered(datetime.now(UTC), first, 2)
    assert not first.superseded
    assert not second.superseded
    assert first.id != second.id
