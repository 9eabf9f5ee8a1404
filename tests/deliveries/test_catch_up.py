"""Subscriptions that begin earlier, that were paused, and that are replayed get every event once and in order."""

import asyncio
import itertools
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from app.database.engine import BackgroundJob, Database, job_transaction
from app.database.types import database_now
from app.deliveries.catch_up import CatchUp
from app.deliveries.repository import DeliveryRepository
from app.errors import NotFound
from app.subscriptions.models import Delivery, Subscription
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.support import (
    add_subscription,
    due_positions,
    get_subscription,
    list_deliveries,
    make_sweeper,
    pending_positions,
)
from tests.deliveries.test_fan_out import Refusal, make_retries_due
from tests.events.support import add_events

FILE, OTHER = uuid4(), uuid4()


async def settle(database: Database, subscription_id: UUID, status: str, *positions: int) -> None:
    """As if these had been delivered or had died, all of their lanes at once."""
    async with database.transaction() as session:
        await session.execute(
            update(Delivery)
            .where(Delivery.subscription_id == subscription_id, Delivery.position.in_(positions))
            .values(status=status, due_at=None, settled_at=database_now(), attempts=9, failures=9)
        )


async def change(database: Database, subscription_id: UUID, method: Callable[..., object], *args: object) -> None:
    """Call a method of the repository on the subscription."""
    async with database.transaction() as session:
        repository = SubscriptionRepository(session)
        subscription = await repository.get_for_change(subscription_id)
        await getattr(repository, method.__name__)(subscription, *args)


async def replay(database: Database, subscription_id: UUID, after: int, through: int | None = None) -> bool:
    async with database.transaction() as session:
        repository = SubscriptionRepository(session)
        subscription = await repository.get_for_change(subscription_id)
        return await repository.add_replay(subscription, after=after, through=through)


async def test_from_the_beginning_it_gets_everything_once_and_is_live_then(database: Database) -> None:
    await add_events(database, *((FILE if number % 2 else OTHER, "update") for number in range(25)))
    sweeper = make_sweeper(database)
    await sweeper.run_once()
    subscription_id = await add_subscription(database, after=0)
    await CatchUp(database, chunk_events=10).run_once()
    assert await pending_positions(database, subscription_id) == list(range(1, 26))
    assert await due_positions(database, subscription_id) == [1, 2]
    assert (await get_subscription(database, subscription_id)).live
    await add_events(database, (FILE, "update"))
    await sweeper.run_once()
    assert await pending_positions(database, subscription_id) == list(range(1, 27))


async def test_from_a_position_it_gets_what_comes_after(database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(5)))
    await make_sweeper(database).run_once()
    subscription_id = await add_subscription(database, after=3, event_types="update")
    await CatchUp(database).run_once()
    assert await pending_positions(database, subscription_id) == [4, 5]


async def test_a_position_that_is_yet_to_come_is_waited_for(database: Database) -> None:
    subscription_id = await add_subscription(database, after=2)
    await CatchUp(database).run_once()
    await add_events(database, *((FILE, "update") for _ in range(4)))
    await make_sweeper(database).run_once()
    assert await pending_positions(database, subscription_id) == [3, 4]


async def test_what_came_in_a_pause_is_delivered_after_it(database: Database) -> None:
    subscription_id = await add_subscription(database)
    sweeper, catch_up = make_sweeper(database), CatchUp(database)
    await add_events(database, (FILE, "upload"))
    await sweeper.run_once()
    await change(database, subscription_id, SubscriptionRepository.mark_paused)
    await add_events(database, (FILE, "update"), (OTHER, "upload"))
    await sweeper.run_once()
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == [1]
    await change(database, subscription_id, SubscriptionRepository.mark_active)
    await add_events(database, (FILE, "delete"))
    await sweeper.run_once()
    assert await pending_positions(database, subscription_id) == [1]
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == [1, 2, 3, 4]
    assert await due_positions(database, subscription_id) == [1, 3]


async def test_a_pause_before_the_sweep_has_come_so_far_loses_nothing(database: Database) -> None:
    await add_events(database, (FILE, "upload"))
    subscription_id = await add_subscription(database)
    await add_events(database, (FILE, "update"))
    await change(database, subscription_id, SubscriptionRepository.mark_disabled, "for a test")
    assert (await get_subscription(database, subscription_id)).status_reason == "for a test"
    await make_sweeper(database).run_once()
    await change(database, subscription_id, SubscriptionRepository.mark_active)
    await CatchUp(database).run_once()
    assert await pending_positions(database, subscription_id) == [2]
    assert (await get_subscription(database, subscription_id)).status_reason is None


async def test_an_event_processed_late_comes_once_whether_the_cursor_has_passed_it_or_not(database: Database) -> None:
    ids = await add_events(database, *((FILE if number % 2 else OTHER, "update") for number in range(6)))
    refusal = Refusal(ids[1])
    sweeper = make_sweeper(database, refusal)
    await sweeper.run_once()
    passed = await add_subscription(database, after=0)
    await CatchUp(database).run_once()
    waiting = await add_subscription(database, after=0)
    await change(database, passed, SubscriptionRepository.mark_paused)
    refusal.event_ids.clear()
    await make_retries_due(database)
    await sweeper.run_once()
    await CatchUp(database).run_once()
    for subscription_id in (passed, waiting):
        assert await pending_positions(database, subscription_id) == [1, 2, 3, 4, 5, 6]


async def test_a_large_backlog_comes_in_parts(database: Database) -> None:
    await add_events(database, *((uuid4(), "upload") for _ in range(50)))
    await make_sweeper(database).run_once()
    subscription_id = await add_subscription(database, after=0)
    catch_up = CatchUp(database, chunk_events=10, max_pending=20)
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == list(range(1, 21))
    await settle(database, subscription_id, "delivered", *range(1, 6))
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == list(range(6, 31))


async def test_one_that_is_live_and_does_not_keep_up_is_live_no_longer(database: Database) -> None:
    subscription_id = await add_subscription(database)
    sweeper, catch_up = make_sweeper(database), CatchUp(database, max_pending=5, max_pending_live=10)
    await add_events(database, *((uuid4(), "upload") for _ in range(12)))
    await sweeper.run_once()
    await catch_up.run_once()
    await add_events(database, *((uuid4(), "upload") for _ in range(3)))
    await sweeper.run_once()
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == list(range(1, 13))
    await settle(database, subscription_id, "delivered", *range(1, 13))
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == [13, 14, 15]
    assert (await get_subscription(database, subscription_id)).live


@pytest.mark.slow
async def test_catching_up_while_the_sweep_runs_and_on_several_replicas(database: Database) -> None:
    files = [uuid4() for _ in range(5)]
    subscription_id = await add_subscription(database, after=0)

    async def write_and_sweep() -> None:
        sweeper = make_sweeper(database, batch_size=7)
        for _ in range(8):
            await add_events(database, *((files[number % 5], "update") for number in range(15)))
            await sweeper.run_once()

    async def catch_up() -> None:
        for _ in range(10):
            await CatchUp(database, chunk_events=9).run_once()

    await asyncio.gather(write_and_sweep(), catch_up(), catch_up())
    await CatchUp(database).run_once()
    assert await pending_positions(database, subscription_id) == list(range(1, 121))


async def test_one_replica_at_a_time_catches_up(database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(3)))
    await make_sweeper(database).run_once()
    subscription_id = await add_subscription(database, after=0)
    if not database.is_sqlite:
        async with job_transaction(database, BackgroundJob.CATCH_UP):
            await CatchUp(database).run_once()
        assert await pending_positions(database, subscription_id) == []
    await CatchUp(database).run_once()
    assert await pending_positions(database, subscription_id) == [1, 2, 3]


async def test_between_chunks_the_lanes_are_left_to_others_for_as_long(database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(3)))
    await make_sweeper(database).run_once()
    await add_subscription(database, after=0)
    times = itertools.count(0.0, 1.0)  # each chunk takes a second, of which 50 ms are left to the others
    started = time.monotonic()
    await CatchUp(database, chunk_events=1, clock=lambda: next(times)).run_once()
    assert time.monotonic() - started >= 3 * 0.05


async def test_who_stops_it_need_not_wait_for_that(database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(3)))
    await make_sweeper(database).run_once()
    subscription_id = await add_subscription(database, after=0)
    stopping = asyncio.Event()
    await CatchUp(database, chunk_events=1, on_added=stopping.set).run_once(stopping)
    assert await pending_positions(database, subscription_id) == [1]


async def test_a_replay_makes_pending_what_was_settled_and_what_was_pruned(database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(12)))
    await make_sweeper(database).run_once()
    subscription_id = await add_subscription(database, after=4)
    await CatchUp(database).run_once()
    await settle(database, subscription_id, "delivered", 5, 6, 7, 8, 9)
    await settle(database, subscription_id, "dead", 10, 11, 12)
    assert await replay(database, subscription_id, 2, 10)
    await CatchUp(database, chunk_events=5).run_once()
    deliveries = await list_deliveries(database, subscription_id)
    assert [one.position for one in deliveries if one.status == "pending"] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert {(one.attempts, one.failures) for one in deliveries if one.status == "pending"} == {(0, 0)}
    assert await due_positions(database, subscription_id) == [3]
    subscription = await get_subscription(database, subscription_id)
    assert (subscription.replay_cursor, subscription.replay_until) == (None, None)


async def test_a_replay_leaves_what_is_pending_as_it_is(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, *((FILE, "update") for _ in range(4)))
    await make_sweeper(database).run_once()
    await settle(database, subscription_id, "delivered", 1)
    async with database.transaction() as session:
        await session.execute(update(Delivery).where(Delivery.position == 2).values(due_at=database_now()))
    assert await replay(database, subscription_id, 0)
    await CatchUp(database).run_once()
    assert await pending_positions(database, subscription_id) == [1, 2, 3, 4]
    assert await due_positions(database, subscription_id) == [2]


async def test_a_replay_has_only_the_types_that_are_wanted_now(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, (FILE, "upload"), (FILE, "update"), (FILE, "delete"))
    await make_sweeper(database).run_once()
    await settle(database, subscription_id, "delivered", 1, 2, 3)
    async with database.transaction() as session:
        await session.execute(update(Subscription).values(event_types="update delete"))
    assert await replay(database, subscription_id, 0)
    await CatchUp(database).run_once()
    assert await pending_positions(database, subscription_id) == [2, 3]


async def test_there_is_nothing_to_replay_of_what_has_not_come_yet(database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(3)))
    subscription_id = await add_subscription(database, after=0)
    assert not await replay(database, subscription_id, 0)
    await make_sweeper(database).run_once()
    await CatchUp(database).run_once()
    assert not await replay(database, subscription_id, 3)
    assert not await replay(database, subscription_id, 2, 2)
    assert await replay(database, subscription_id, 2, 99)


async def test_dead_ones_are_tried_again_in_order_and_others_one_by_one(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, *((FILE, "update") for _ in range(4)), (OTHER, "upload"))
    await make_sweeper(database).run_once()
    await settle(database, subscription_id, "dead", 1, 2, 3, 4)
    await settle(database, subscription_id, "delivered", 5)
    async with database.transaction() as session:
        assert await DeliveryRepository(session).mark_dead_pending(subscription_id) == 4
    assert await due_positions(database, subscription_id) == [1]
    delivered = (await list_deliveries(database, subscription_id))[-1]
    for expected in (1, 0):
        async with database.transaction() as session:
            assert await DeliveryRepository(session).mark_pending([delivered.id, 10**12]) == expected
    assert await due_positions(database, subscription_id) == [1, 5]


async def test_one_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        await change(database, uuid4(), SubscriptionRepository.mark_paused)
