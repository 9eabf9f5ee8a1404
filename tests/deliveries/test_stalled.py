"""Deliveries that nothing would make due are found, made due in the order of their lane, and counted."""

from uuid import uuid4

from prometheus_client import CollectorRegistry
from sqlalchemy import update

from app.database.engine import BackgroundJob, Database, job_transaction
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.stalled import StalledLanes
from app.subscriptions.models import Delivery, Ordering
from tests.deliveries.support import add_subscription, due_positions, make_sweeper, pending_positions
from tests.events.support import add_events
from tests.support.marks import on_postgresql

FILE, OTHER = uuid4(), uuid4()


class Repair:
    """The check, and how often it woke the dispatcher and what it counted."""

    def __init__(self, database: Database) -> None:
        self._registry = CollectorRegistry()
        self.woken = 0
        self.check = StalledLanes(database, WebhookMetrics(self._registry), self._wake)

    def _wake(self) -> None:
        self.woken += 1

    @property
    def counted(self) -> float | None:
        return self._registry.get_sample_value("sync_webhook_deliveries_stalled_total")


async def forget_due(database: Database, *positions: int) -> None:
    """Leave these without a due time, as a settlement does that does not see what the one before it committed."""
    async with database.transaction() as session:
        await session.execute(update(Delivery).where(Delivery.position.in_(positions)).values(due_at=None))


async def test_a_stalled_lane_goes_on_with_its_first_delivery(database: Database) -> None:
    subscription = await add_subscription(database)
    await add_events(database, (FILE, "upload"), (OTHER, "upload"), (FILE, "update"), (OTHER, "update"))
    await make_sweeper(database).run_once()
    await forget_due(database, 1)
    repair = Repair(database)
    await repair.check.run_once()
    assert await due_positions(database, subscription) == [1, 2]
    assert (repair.counted, repair.woken) == (1, 1)
    await repair.check.run_once()
    assert (repair.counted, repair.woken) == (1, 1), "there is nothing left to repair"
    assert await pending_positions(database, subscription) == [1, 2, 3, 4]


async def test_a_subscription_without_order_is_repaired_too(database: Database) -> None:
    subscription = await add_subscription(database, ordering=Ordering.NONE)
    await add_events(database, (FILE, "upload"), (FILE, "update"), (OTHER, "upload"))
    await make_sweeper(database).run_once()
    await forget_due(database, 1, 2)
    await Repair(database).check.run_once()
    assert await due_positions(database, subscription) == [1, 2, 3]


@on_postgresql
async def test_one_replica_repairs_at_a_time(database: Database) -> None:
    await add_subscription(database)
    await add_events(database, (FILE, "upload"))
    await make_sweeper(database).run_once()
    await forget_due(database, 1)
    repair = Repair(database)
    async with job_transaction(database, BackgroundJob.STALLED):
        await repair.check.run_once()
        assert repair.counted == 0
    await repair.check.run_once()
    assert repair.counted == 1
