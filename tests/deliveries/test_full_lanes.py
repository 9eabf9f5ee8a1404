"""A file that does not get through neither fills the table nor holds up the others of its subscription."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from app.concurrency.task import PeriodicTask
from app.database.engine import Database
from app.deliveries import catch_up
from app.deliveries.catch_up import CatchUp
from app.deliveries.cleanup import Removal
from app.deliveries.history import ProgressRepository
from app.events.repository import EventRepository
from app.subscriptions import lane
from app.subscriptions.models import Delivery, FullLane, Ordering
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.replica import PATIENT, encrypted, running
from tests.deliveries.support import (
    add_subscription,
    due_positions,
    get_subscription,
    list_deliveries,
    make_sweeper,
    pending_positions,
)
from tests.deliveries.test_catch_up import change, replay, settle
from tests.deliveries.test_fan_out import Refusal, make_retries_due
from tests.events.support import add_events
from tests.support.receiver import Received, Receiver, Reply, answer, receiving

STUCK, OTHER = uuid4(), uuid4()


@pytest.fixture(autouse=True)
def short_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than four make a lane long."""
    monkeypatch.setattr(catch_up, "LANE_ROWS", 4)
    monkeypatch.setattr(lane, "LANE_ROWS", 4)


async def full_lanes(database: Database) -> dict[UUID, int]:
    """The cursors of the full lanes, by file."""
    async with database.read() as session:
        return {lane.file_id: lane.cursor for lane in await session.scalars(select(FullLane))}


async def write(database: Database, *files: UUID) -> None:
    """Record an update of each file, and sweep."""
    await add_events(database, *((file_id, "update") for file_id in files))
    await make_sweeper(database).run_once()


def make_catch_up(database: Database) -> CatchUp:
    """One with small limits."""
    return CatchUp(database, chunk_events=10, max_pending=12, max_pending_replay=8, max_pending_live=15)


@pytest.mark.parametrize("ordering", list(Ordering))
async def test_others_come_although_one_file_has_more_than_may_be_pending(
    database: Database, ordering: Ordering
) -> None:
    await write(database, *[STUCK] * 30, OTHER, OTHER)
    subscription_id = await add_subscription(database, after=0, ordering=ordering)
    await make_catch_up(database).run_once()
    pending = await pending_positions(database, subscription_id)
    if ordering == Ordering.PER_FILE:
        assert pending == [1, 2, 3, 4, 31, 32]
        assert await due_positions(database, subscription_id) == [1, 31]
    assert (len(pending) < 25, pending[-2:]) == (True, [31, 32])
    subscription = await get_subscription(database, subscription_id)
    assert (subscription.live, subscription.cursor) == (True, 32)
    assert list(await full_lanes(database)) == [STUCK]
    await write(database, STUCK, OTHER)
    assert await pending_positions(database, subscription_id) == [*pending, 34], "33 is of the full lane"


async def test_one_that_is_live_stays_so_while_its_long_lanes_are_all_that_does_not_get_through(
    database: Database,
) -> None:
    subscription_id = await add_subscription(database)
    await write(database, *[STUCK] * 20, OTHER)
    await make_catch_up(database).run_once()
    await write(database, STUCK, OTHER)
    assert await pending_positions(database, subscription_id) == [1, 2, 3, 4, 21, 23]
    assert (await get_subscription(database, subscription_id)).live
    async with database.read() as session:
        [of_stuck] = await ProgressRepository(session).list_of_file(STUCK)
        [of_other] = await ProgressRepository(session).list_of_file(OTHER)
    assert ((of_stuck.pending, of_stuck.behind), (of_other.pending, of_other.behind)) == ((4, True), (2, False))


@pytest.mark.slow
@pytest.mark.parametrize(("database_url", "after"), [("sqlite", None), ("postgresql", 0)], indirect=["database_url"])
async def test_everything_comes_in_order_once_the_file_gets_through(database: Database, after: int | None) -> None:
    stuck = True

    def decide(request: Received) -> Reply:
        return answer(500 if stuck and request.file_id == str(STUCK) else 200)

    async with receiving(Receiver(decide)) as receiver, running(database, policy=PATIENT) as replica:
        await add_subscription(database, after=after, url=receiver.url, secret=encrypted())
        await write(database, *[STUCK] * 23, *[OTHER] * 3)
        catch_up = make_catch_up(database)
        await catch_up.run_once()
        await replica.dispatch_until(lambda: {24, 25, 26} <= set(receiver.positions))
        await write(database, STUCK, OTHER)
        await replica.dispatch_until(lambda: 28 in receiver.positions)
        assert set(receiver.positions) == {1, 24, 25, 26, 28}
        assert await full_lanes(database) == {STUCK: 4}
        stuck = False
        receiver.received.clear()
        async with database.transaction() as session:  # not only after the pause that many failures make long
            waiting = Delivery.position == 1, Delivery.claimed_by.is_(None)
            await session.execute(update(Delivery).where(*waiting).values(due_at=Delivery.created_at))
        catching_up = PeriodicTask("catch-up", catch_up.run_once, 0.05)
        catching_up.start()

        async def is_through() -> bool:
            return len(receiver.received) >= 24 and not await full_lanes(database)

        await replica.dispatch_until(is_through)
        await replica.settle()
        await catching_up.stop(5)
        assert receiver.positions == [*range(1, 24), 27]


async def test_an_event_of_a_full_lane_that_is_processed_late_comes_once(database: Database) -> None:
    subscription_id = await add_subscription(database)
    ids = await add_events(database, *((STUCK, "update") for _ in range(20)))
    refusal = Refusal(ids[2], ids[15])
    sweeper = make_sweeper(database, refusal)
    for _ in range(6):
        await sweeper.run_once()
        await make_retries_due(database)
    await sweeper.run_once()
    catch_up = make_catch_up(database)
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == [1, 2, 4, 5]
    refusal.event_ids.clear()
    async with database.transaction() as session:
        assert [await EventRepository(session).requeue(ids[index]) for index in (2, 15)] == [True, True]
    await sweeper.run_once()
    assert await pending_positions(database, subscription_id) == [1, 2, 3, 4, 5]
    for _ in range(10):  # more than it takes
        await settle_due(database, subscription_id)
        await catch_up.run_once()
    await settle_due(database, subscription_id)
    deliveries = await list_deliveries(database, subscription_id)
    assert [(one.position, one.status) for one in deliveries] == [(number, "delivered") for number in range(1, 21)]
    assert await full_lanes(database) == {}


async def settle_due(database: Database, subscription_id: UUID) -> None:
    """Deliver all that is pending."""
    await settle(database, subscription_id, "delivered", *await pending_positions(database, subscription_id))


async def test_a_pause_keeps_a_full_lane_and_a_deleted_subscription_does_not(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await write(database, *[STUCK] * 20)
    catch_up = make_catch_up(database)
    await catch_up.run_once()
    await change(database, subscription_id, SubscriptionRepository.mark_paused)
    await settle_due(database, subscription_id)
    await catch_up.run_once()
    assert await full_lanes(database) == {STUCK: 4}
    await change(database, subscription_id, SubscriptionRepository.mark_active)
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == [5, 6, 7, 8]
    await change(database, subscription_id, SubscriptionRepository.mark_deleted)
    await Removal(database).run_once()
    assert await full_lanes(database) == {}


async def test_a_replay_holds_up_nothing_new_and_fills_no_full_lane(database: Database) -> None:
    files = [uuid4() for _ in range(40)]
    subscription_id = await add_subscription(database)
    await write(database, *files)
    await settle_due(database, subscription_id)
    assert await replay(database, subscription_id, 0)
    catch_up = make_catch_up(database)
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == list(range(1, 11))
    await change(database, subscription_id, SubscriptionRepository.mark_paused)
    await write(database, OTHER)
    await change(database, subscription_id, SubscriptionRepository.mark_active)
    await catch_up.run_once()
    assert await pending_positions(database, subscription_id) == [*range(1, 11), 41]
    assert (await get_subscription(database, subscription_id)).live
    for _ in range(5):
        await settle_due(database, subscription_id)
        await catch_up.run_once()
    assert (await get_subscription(database, subscription_id)).replay_until is None
