"""A clock that was ahead and was set back puts off nothing for longer than was meant; on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry
from sqlalchemy import update

from app.database.engine import Database
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryDecision, record_outcome
from app.deliveries.settlement_repository import SettlementRepository
from app.deliveries.stalled import ClockRepair
from app.subscriptions.models import Delivery, DeliveryStatus, Outcome, Subscription
from tests.deliveries.support import add_subscription, get_subscription, list_deliveries, make_sweeper, settled
from tests.events.support import add_events

FILE = uuid4()
NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
LEASED, FAILED = {"claimed_by": "someone"}, {"attempts": 2, "failures": 2}


async def repair(database: Database) -> tuple[float | None, int]:
    """Look once for due times that are too far ahead; what was counted, and how often the dispatcher was woken."""
    registry, woken = CollectorRegistry(), []
    check = ClockRepair(database, timedelta(minutes=1), WebhookMetrics(registry), lambda: woken.append(1))
    await check.run_once()
    return registry.get_sample_value("sync_webhook_due_times_corrected_total"), len(woken)


async def one_pending(database: Database) -> UUID:
    subscription_id = await add_subscription(database)
    await add_events(database, (FILE, "upload"))
    await make_sweeper(database).run_once()
    return subscription_id


DUE_TIMES: dict[str, tuple[dict[str, Any], timedelta, bool]] = {
    "lease": (LEASED, 50 * SECOND, False),
    "lease too long": (LEASED, 70 * SECOND, True),
    "lease of a retry": ({**LEASED, **FAILED, "wait_seconds": 7200}, HOUR, True),
    "retry": ({**FAILED, "wait_seconds": 15}, 14 * SECOND, False),
    "retry too far": ({**FAILED, "wait_seconds": 15}, 20 * SECOND, True),
    "Retry-After": ({**FAILED, "wait_seconds": 86_400}, 23 * HOUR, False),
    "Retry-After too far": ({**FAILED, "wait_seconds": 86_400}, 25 * HOUR, True),
    "retry of the release before": (FAILED, 23 * HOUR, False),
    "the same, too far": (FAILED, 24 * 365 * HOUR, True),
    "first attempt": ({}, HOUR, True),
}


async def test_a_due_time_is_no_further_ahead_than_it_was_given(database: Database) -> None:
    subscription_id = await one_pending(database)
    for name, (columns, ahead, is_due) in DUE_TIMES.items():
        fresh = {"claimed_by": None, "attempts": 0, "failures": 0, "wait_seconds": None}
        due_at = datetime.now(UTC) + ahead
        async with database.transaction() as session:
            await session.execute(update(Delivery).values(due_at=due_at, **{**fresh, **columns}))
        assert await repair(database) == ((1, 1) if is_due else (0, 0)), name
        [delivery] = await list_deliveries(database, subscription_id)
        assert delivery.due_at is not None, name
        assert (delivery.due_at < datetime.now(UTC) + SECOND) is is_due, name
        assert await repair(database) == (0, 0), name


async def test_a_slow_down_is_no_longer_than_it_was_given(database: Database) -> None:
    subscription_id = await one_pending(database)
    for seconds, ahead, ends in ((30, 29, False), (30, 40, True), (None, 86_000, False)):
        until = datetime.now(UTC) + ahead * SECOND
        async with database.transaction() as session:
            await session.execute(update(Subscription).values(slow_until=until, slow_seconds=seconds, slow_count=1))
        assert await repair(database) == ((1, 1) if ends else (0, 0)), (seconds, ahead)
        slow_until = (await get_subscription(database, subscription_id)).slow_until
        assert slow_until is not None
        assert (slow_until < datetime.now(UTC) + SECOND) is ends, (seconds, ahead)


async def test_a_settlement_stores_how_long_a_retry_and_a_slow_down_wait(database: Database) -> None:
    subscription_id = await one_pending(database)
    async with database.transaction() as session:
        await session.execute(update(Delivery).values(claimed_by="me", fence=1))
    [delivery] = await list_deliveries(database, subscription_id)
    result, _ = settled(delivery.id, 1)
    retry = RetryDecision(DeliveryStatus.PENDING, NOW + timedelta(seconds=14.2), 1)
    async with database.transaction() as session:
        repository = SettlementRepository(session, "me")
        assert await repository.mark_attempted([(result, retry)], NOW)
        [slowed], _ = await repository.lock_health([], [subscription_id])
        record_outcome(slowed, Outcome.SLOW_DOWN, NOW, lambda: 0.5, retry_after_seconds=30)
    [delivery] = await list_deliveries(database, subscription_id)
    assert delivery.wait_seconds == 15
    assert (await get_subscription(database, subscription_id)).slow_seconds == 30


def test_failures_that_a_wrong_clock_dated_ahead_count_from_now() -> None:
    subscription = Subscription(failing_since=NOW + 24 * 365 * HOUR, slow_count=0)
    record_outcome(subscription, Outcome.FAILED, NOW, lambda: 0.5, None)
    assert subscription.failing_since == NOW
