"""How the subscriptions stand, as `/metrics` tells it from the database."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
from prometheus_client.parser import text_string_to_metric_families

from app.database.engine import Database
from app.deliveries.repository import DeliveryRepository
from app.subscriptions.models import Delivery, DeliveryStatus, SubscriptionStatus
from tests.deliveries.support import add_subscription
from tests.support.waiting import get_once_connected

HOUR = timedelta(hours=1)


async def read(client: httpx.AsyncClient) -> list[float]:
    """Pending deliveries, hours of the oldest one, hours of the longest failing subscription, disabled ones."""
    families = text_string_to_metric_families((await get_once_connected(client, "/metrics")).text)
    values = {family.name: family.samples[0].value for family in families if family.samples}
    return [
        values["sync_webhook_deliveries_pending"],
        round(values["sync_webhook_oldest_pending_age_seconds"] / 3600, 1),
        round(values["sync_webhook_failing_age_seconds"] / 3600, 1),
        values["sync_webhook_subscriptions_disabled"],
    ]


async def test_nothing_is_wrong_where_nobody_subscribed(client: httpx.AsyncClient) -> None:
    assert await read(client) == [0, 0, 0, 0]


async def test_the_worst_of_the_active_subscriptions_is_told(client: httpx.AsyncClient, database: Database) -> None:
    now = datetime.now(UTC)
    ids = [
        await add_subscription(database, failing_since=now - 2 * HOUR),
        await add_subscription(database, failing_since=now - 3 * HOUR),
        await add_subscription(database),
        await add_subscription(database, failing_since=now - 9 * HOUR, status=SubscriptionStatus.PAUSED),
        await add_subscription(database, failing_since=now - 9 * HOUR, status=SubscriptionStatus.DISABLED),
    ]
    assert await read(client) == [0, 0, 3, 1]
    ages = {ids[0]: 4, ids[1]: 5, ids[3]: 8, ids[4]: 8}
    async with database.transaction() as session:
        for subscription_id, hours in ages.items():
            for position, status in enumerate((DeliveryStatus.DELIVERED, DeliveryStatus.PENDING, DeliveryStatus.DEAD)):
                session.add(
                    Delivery(
                        subscription_id=subscription_id,
                        position=position,
                        file_id=uuid4(),
                        status=status,
                        created_at=now - (hours if status is DeliveryStatus.PENDING else 7) * HOUR,
                    )
                )
    assert await read(client) == [2, 5, 3, 1]


async def test_what_is_delivered_once_more_is_not_late(client: httpx.AsyncClient, database: Database) -> None:
    now = datetime.now(UTC)
    subscription_id = await add_subscription(database)
    settled = {"status": DeliveryStatus.DEAD, "created_at": now - 9 * HOUR, "settled_at": now - 8 * HOUR}
    async with database.transaction() as session:
        for number in (1, 2):
            session.add(
                Delivery(id=number, subscription_id=subscription_id, position=number, file_id=uuid4(), **settled)
            )
    async with database.transaction() as session:
        assert await DeliveryRepository(session).mark_pending([1]) == 1
        assert await DeliveryRepository(session).mark_dead_pending(subscription_id) == 1
    assert (await read(client))[:2] == [2, 0]
