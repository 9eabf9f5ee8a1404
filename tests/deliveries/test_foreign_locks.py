"""A row of a subscription that another program has locked delays that subscription alone; SQLite locks no rows."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.deliveries.catch_up import CatchUp
from app.deliveries.cleanup import CleanupRepository
from app.subscriptions.models import Subscription, SubscriptionStatus
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.replica import encrypted, running
from tests.deliveries.support import add_subscription, get_subscription, make_sweeper, pending_positions
from tests.events.support import add_events
from tests.support.marks import on_postgresql
from tests.support.receiver import Receiver, answer, receiving

EVENTS = 11
WAIT_SECONDS = 5  # less than the lock time-out of the database

pytestmark = on_postgresql


@asynccontextmanager
async def locked(database: Database, subscription_id: UUID) -> AsyncIterator[None]:
    """As another program does it: SELECT … FOR UPDATE, in a transaction that stays open."""
    async with database.transaction() as session:
        row = select(Subscription.id).where(Subscription.id == subscription_id)
        assert await session.scalar(row.with_for_update())
        yield


async def add_uploads(database: Database) -> None:
    await add_events(database, *((uuid4(), "upload") for _ in range(EVENTS)))


async def test_the_others_get_all_their_events_meanwhile(database: Database) -> None:
    first, second = Receiver(), Receiver()
    async with receiving(first), receiving(second), running(database) as replica:
        held = await add_subscription(database, url=first.url, secret=encrypted())
        await add_subscription(database, url=second.url, secret=encrypted())
        async with locked(database, held), asyncio.timeout(WAIT_SECONDS):
            await add_uploads(database)
            await replica.sweep()
            await replica.dispatch_until(lambda: len(second.received) == EVENTS)
            await replica.settle()
            assert first.received == []
        await replica.dispatch_until(lambda: len(first.received) == EVENTS)
        await replica.settle()
    assert (len(first.received), len(second.received)) == (EVENTS, EVENTS)


async def test_results_of_the_locked_one_wait_alone(database: Database) -> None:
    go_on = asyncio.Event()

    async def fail_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer(500)(reader, writer)

    slow, other = Receiver(lambda _request: fail_late), Receiver()
    async with receiving(slow), receiving(other), running(database) as replica:
        held = await add_subscription(database, url=slow.url, secret=encrypted(), max_concurrency=1)
        free = await add_subscription(database, url=other.url, secret=encrypted())
        await add_uploads(database)
        await replica.sweep()
        await replica.dispatch_until(lambda: len(slow.received) == 1)
        async with locked(database, held), asyncio.timeout(WAIT_SECONDS):
            go_on.set()

            async def all_delivered() -> bool:
                return await pending_positions(database, free) == []

            await replica.dispatch_until(all_delivered)
            assert len(replica.dispatcher.leases) == 1, "its result waits"
            assert (await get_subscription(database, held)).failing_since is None
        await replica.settle()
        assert (await get_subscription(database, held)).failing_since is not None


async def test_the_catch_up_leaves_it_for_later(database: Database) -> None:
    await add_uploads(database)
    await make_sweeper(database).run_once()
    held, free = await add_subscription(database, after=0), await add_subscription(database, after=0)
    async with locked(database, held), asyncio.timeout(WAIT_SECONDS):
        await CatchUp(database).run_once()
        assert len(await pending_positions(database, free)) == EVENTS
    assert await pending_positions(database, held) == []
    await CatchUp(database).run_once()
    assert len(await pending_positions(database, held)) == EVENTS


async def test_a_change_of_it_gives_up_soon_and_lets_the_lanes_go(database: Database) -> None:
    held = await add_subscription(database)
    async with locked(database, held):
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as session:
                await SubscriptionRepository(session).get_for_change(held)
        assert time.monotonic() - started < WAIT_SECONDS
        async with asyncio.timeout(WAIT_SECONDS):
            await add_subscription(database)
    async with database.transaction() as session:
        assert (await SubscriptionRepository(session).get_for_change(held)).id == held


async def test_its_removal_is_left_for_later(database: Database) -> None:
    held = await add_subscription(database)
    async with database.transaction() as session:
        await session.execute(update(Subscription).values(status=SubscriptionStatus.DELETED))
    async with locked(database, held), asyncio.timeout(WAIT_SECONDS), database.transaction() as session:
        assert not await CleanupRepository(session).delete_subscription(held)
    async with database.transaction() as session:
        assert await CleanupRepository(session).delete_subscription(held)
