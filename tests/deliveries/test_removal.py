"""Deleted subscriptions are removed with all their deliveries, by any number of replicas; on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from app.database.engine import Database
from app.deliveries.cleanup import Removal
from app.subscriptions.models import Attempt, Delivery, Subscription
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.support import add_subscription, pending_delivery


async def mark_deleted(database: Database, subscription_id: UUID) -> None:
    async with database.transaction() as session:
        repository = SubscriptionRepository(session)
        await repository.mark_deleted(await repository.get_for_change(subscription_id))


async def count(database: Database, table: type[Subscription | Delivery | Attempt]) -> int:
    async with database.read() as session:
        return (await session.scalars(select(func.count()).select_from(table))).one()


@pytest.mark.parametrize("replicas", [1, 3])
async def test_however_many_deliveries_there_are_all_are_removed(database: Database, replicas: int) -> None:
    deleted, other = await add_subscription(database), await add_subscription(database)
    async with database.transaction() as session:
        for number in range(1, 51):
            settled = {"status": "dead", "settled_at": datetime.now(UTC)}
            session.add(pending_delivery(deleted, id=number, position=number, **(settled if number % 2 else {})))
            session.add(pending_delivery(other, id=1000 + number, position=number, **settled))
        await session.flush()
        at = datetime.now(UTC)
        for number in range(1, 51):
            session.add(Attempt(delivery_id=number, number=1, started_at=at, duration_ms=1, outcome="failed"))
    await mark_deleted(database, deleted)
    removals = [Removal(database, chunk_rows=20) for _ in range(replicas)]
    await asyncio.gather(*(removal.run_once() for removal in removals))
    await removals[0].run_once()
    assert await count(database, Subscription) == 1
    assert await count(database, Delivery) == 50
    assert await count(database, Attempt) == 0


async def test_what_is_under_way_is_removed_once_it_has_ended(database: Database) -> None:
    subscription_id = await add_subscription(database)
    soon = datetime.now(UTC) + timedelta(seconds=40)
    async with database.transaction() as session:
        session.add(pending_delivery(subscription_id, position=1, due_at=soon, claimed_by="p"))
    await mark_deleted(database, subscription_id)
    removal = Removal(database)
    await removal.run_once()
    assert (await count(database, Subscription), await count(database, Delivery)) == (1, 1)
    async with database.transaction() as session:
        await session.execute(update(Delivery).values(due_at=datetime.now(UTC) - timedelta(seconds=5)))
    await removal.run_once()
    assert (await count(database, Subscription), await count(database, Delivery)) == (0, 0)


async def test_a_removal_ends_when_it_is_told_to(database: Database) -> None:
    await mark_deleted(database, await add_subscription(database))
    stopping = asyncio.Event()
    stopping.set()
    await Removal(database).run_once(stopping)
    assert await count(database, Subscription) == 1
