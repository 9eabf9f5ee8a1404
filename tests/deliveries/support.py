"""Subscriptions and deliveries for tests, and the rule that these must keep at every moment."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from uuid_utils.compat import uuid7

from app.database.engine import Database
from app.deliveries.claim import LeasedDelivery
from app.deliveries.policy import RetryDecision
from app.deliveries.repository import FanOutHandler
from app.deliveries.settlement_repository import Result
from app.files.repository import FileStateHandler
from app.outbound.client import AttemptResponse
from app.subscriptions.models import Delivery, DeliveryStatus, Ordering, Outcome, Subscription, SubscriptionStatus
from app.subscriptions.repository import SubscriptionRepository
from app.sweep.sweeper import Handler, Sweeper

CREATED_AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def subscription(**changes: Any) -> Subscription:
    """One that wants everything, in order per file, at an address where nobody listens."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "url": "http://127.0.0.1:9/hook",
        "description": "",
        "event_types": "upload update delete",
        "ordering": Ordering.PER_FILE,
        "max_concurrency": 10,
        "rate_limit_per_second": None,
        "headers": None,
        "status": SubscriptionStatus.ACTIVE,
        "status_reason": None,
        "created_at": CREATED_AT,
        "created_by": "tester",
        "updated_at": CREATED_AT,
        "version": 1,
        "secret": b"",
        "old_secret": None,
        "old_secret_until": None,
        "slow_count": 0,
    }
    return Subscription(**{**values, **changes})


async def add_subscription(database: Database, *, after: int | None = None, **changes: Any) -> UUID:
    """Add one and return its id."""
    new = subscription(**changes)
    async with database.transaction() as session:
        await SubscriptionRepository(session).add_subscription(new, after=after)
    return new.id


async def get_subscription(database: Database, subscription_id: UUID) -> Subscription:
    """How it stands."""
    async with database.read() as session:
        return (await session.scalars(select(Subscription).where(Subscription.id == subscription_id))).one()


def make_sweeper(database: Database, *others: Handler, batch_size: int = 1000) -> Sweeper:
    """The sweep as the service runs it, and `others` at its end."""
    return Sweeper(
        database,
        [FileStateHandler(), FanOutHandler(), *others],
        batch_size=batch_size,
        max_attempts=3,
        retry_interval=timedelta(seconds=5),
    )


async def list_deliveries(database: Database, subscription_id: UUID) -> Sequence[Delivery]:
    """Its deliveries by position, after a look at the rule of the lanes."""
    await check_lanes(database)
    async with database.read() as session:
        query = select(Delivery).where(Delivery.subscription_id == subscription_id).order_by(Delivery.position)
        return (await session.scalars(query)).all()


async def pending_positions(database: Database, subscription_id: UUID) -> list[int]:
    """What waits to be delivered."""
    return [one.position for one in await list_deliveries(database, subscription_id) if one.status == "pending"]


async def due_positions(database: Database, subscription_id: UUID) -> list[int]:
    """What may be claimed now or later without anything else being settled first."""
    return [one.position for one in await list_deliveries(database, subscription_id) if one.due_at is not None]


async def check_lanes(database: Database) -> None:
    """Of each file's pending deliveries exactly one is due; without an order all of them are; of the rest none."""
    async with database.read() as session:
        query = select(Delivery, Subscription.ordering).join(Subscription, Subscription.id == Delivery.subscription_id)
        rows = (await session.execute(query)).all()
    lanes: defaultdict[tuple[UUID, UUID], list[Delivery]] = defaultdict(list)
    for delivery, ordering in rows:
        if delivery.status != DeliveryStatus.PENDING:
            assert delivery.due_at is None
            assert delivery.settled_at is not None
        elif ordering == Ordering.NONE:
            assert delivery.due_at is not None
        else:
            lanes[delivery.subscription_id, delivery.file_id].append(delivery)
    for lane in lanes.values():
        assert sum(delivery.due_at is not None for delivery in lane) == 1, [one.position for one in lane]


def settled(
    delivery_id: int, fence: int, status: DeliveryStatus = DeliveryStatus.DELIVERED
) -> tuple[Result, RetryDecision]:
    """The result of a first attempt, and the decision that settles its delivery."""
    delivery = LeasedDelivery(delivery_id, fence, 0, 0, event=None)  # type: ignore[arg-type]  # no statement reads it
    response = AttemptResponse(duration_seconds=0, status_code=200)
    result = Result(uuid7(), "http://127.0.0.1:9/hook", delivery, CREATED_AT, response, Outcome.DELIVERED)
    return result, RetryDecision(status, None, 0)


def pending_delivery(subscription_id: UUID, **changes: Any) -> Delivery:
    """A row for a test to add, of a file of its own."""
    values: dict[str, Any] = {
        "subscription_id": subscription_id,
        "file_id": uuid7(),
        "status": "pending",
        "created_at": datetime.now(UTC),
        "wait_seconds": 86_400,  # or the service would take a late due time for that of a wrong clock
    }
    return Delivery(**{**values, **changes})
