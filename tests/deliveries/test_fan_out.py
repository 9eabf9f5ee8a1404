"""The sweep writes who is to be told of what, on both databases."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.events.repository import EventRepository
from app.sweep.repository import SweepRepository
from tests.deliveries.support import (
    add_subscription,
    due_positions,
    list_deliveries,
    make_sweeper,
    pending_positions,
)
from tests.events.support import add_events

FILE, OTHER = uuid4(), uuid4()


class Refusal:
    """A handler that refuses the events it is told to."""

    def __init__(self, *event_ids: UUID) -> None:
        self.event_ids = set(event_ids)

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        for event in await SweepRepository(session).list_at(positions):
            if event.id in self.event_ids:
                raise ValueError("refused")


async def make_retries_due(database: Database) -> None:
    """What waits for another attempt gets it with the next pass."""
    async with database.transaction() as session:
        await session.execute(text("UPDATE sync_events SET retry_at = created_at WHERE retry_at IS NOT NULL"))


async def test_each_event_becomes_one_delivery_for_each_subscription(database: Database) -> None:
    first, second = await add_subscription(database), await add_subscription(database)
    await add_events(database, (FILE, "upload"), (OTHER, "upload"), (FILE, "update"))
    await make_sweeper(database).run_once()
    for subscription_id in (first, second):
        deliveries = await list_deliveries(database, subscription_id)
        assert [(one.position, one.file_id, one.status) for one in deliveries] == [
            (1, FILE, "pending"),
            (2, OTHER, "pending"),
            (3, FILE, "pending"),
        ]
        assert await due_positions(database, subscription_id) == [1, 2]
        now = datetime.now(UTC)
        assert all(abs((now - one.created_at).total_seconds()) < 60 for one in deliveries)


async def test_a_lane_has_one_due_delivery_over_many_batches(database: Database) -> None:
    subscription_id = await add_subscription(database)
    await add_events(database, *((FILE, "update") for _ in range(25)))
    await make_sweeper(database, batch_size=10).run_once()
    assert await pending_positions(database, subscription_id) == list(range(1, 26))
    assert await due_positions(database, subscription_id) == [1]


async def test_without_an_order_every_delivery_is_due(database: Database) -> None:
    subscription_id = await add_subscription(database, ordering="none")
    await add_events(database, *((FILE, "update") for _ in range(25)))
    await make_sweeper(database, batch_size=10).run_once()
    assert await due_positions(database, subscription_id) == list(range(1, 26))


async def test_only_the_types_that_it_wants(database: Database) -> None:
    uploads = await add_subscription(database, event_types="upload")
    others = await add_subscription(database, event_types="update delete")
    await add_events(database, (FILE, "upload"), (FILE, "update"), (FILE, "delete"), (FILE, "upload"))
    await make_sweeper(database).run_once()
    assert await pending_positions(database, uploads) == [1, 4]
    assert await pending_positions(database, others) == [2, 3]


async def test_latest_begins_after_what_was_recorded_though_not_yet_swept(database: Database) -> None:
    await add_events(database, (FILE, "upload"), (FILE, "update"))
    subscription_id = await add_subscription(database)
    await add_events(database, (FILE, "update"))
    await make_sweeper(database).run_once()
    assert await pending_positions(database, subscription_id) == [3]


async def test_nothing_comes_from_the_sweep_to_one_that_is_not_live_yet(database: Database) -> None:
    await add_events(database, (FILE, "upload"))
    subscription_id = await add_subscription(database, after=0)
    await make_sweeper(database).run_once()
    assert await list_deliveries(database, subscription_id) == []


async def test_an_event_that_failed_first_is_delivered_once_and_before_the_later_ones(database: Database) -> None:
    subscription_id = await add_subscription(database)
    ids = await add_events(database, (FILE, "upload"), (FILE, "update"), (OTHER, "upload"), (FILE, "update"))
    refusal = Refusal(ids[1])
    sweeper = make_sweeper(database, refusal)
    await sweeper.run_once()
    assert await pending_positions(database, subscription_id) == [1, 3]
    refusal.event_ids.clear()
    await make_retries_due(database)
    await sweeper.run_once()
    assert await pending_positions(database, subscription_id) == [1, 2, 3, 4]
    assert await due_positions(database, subscription_id) == [1, 3]


async def test_an_event_that_was_set_aside_comes_late_and_waits_for_what_is_due(database: Database) -> None:
    subscription_id = await add_subscription(database)
    ids = await add_events(database, (FILE, "upload"), (FILE, "update"))
    refusal = Refusal(ids[0])
    sweeper = make_sweeper(database, refusal)
    for _ in range(3):
        await sweeper.run_once()
        await make_retries_due(database)
    await sweeper.run_once()
    assert await due_positions(database, subscription_id) == [2]
    refusal.event_ids.clear()
    async with database.transaction() as session:
        assert await EventRepository(session).requeue(ids[0])
    await sweeper.run_once()
    assert await pending_positions(database, subscription_id) == [1, 2]
    assert await due_positions(database, subscription_id) == [2]


async def test_a_batch_that_rolls_back_leaves_no_delivery(database: Database) -> None:
    subscription_id = await add_subscription(database)
    ids = await add_events(database, (FILE, "upload"))
    await make_sweeper(database, Refusal(*ids)).run_once()
    assert await list_deliveries(database, subscription_id) == []


async def test_a_type_is_no_part_of_another_ones_name(database: Database) -> None:
    subscription_id = await add_subscription(database, event_types="re-upload delete")
    await add_events(database, (FILE, "upload"), (FILE, "update"), (FILE, "delete"))
    await make_sweeper(database).run_once()
    assert await pending_positions(database, subscription_id) == [3]
