"""How the subscriptions stand, as `/metrics` tells it from the database."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
from prometheus_client.parser import text_string_to_metric_families

from app.database.engine import Database
from app.webhooks.models import Delivery, DeliveryStatus, SubscriptionStatus
from tests.webhooks.support import add_subscription

HOUR = timedelta(hours=1)


async def read(client: httpx.AsyncClient) -> list[float]:
    """The age of the oldest pending delivery, the longest failing subscription in hours, and how many are disabled."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    values = {family.name: family.samples[0].value for family in families if family.samples}
    ages = [values["sync_webhook_oldest_pending_age_seconds"], values["sync_webhook_failing_age_seconds"]]
    return [*(round(age / 3600, 1) for age in ages), values["sync_webhook_subscriptions_disabled"]]


async def test_nothing_is_wrong_where_nobody_subscribed(client: httpx.AsyncClient) -> None:
    assert await read(client) == [0, 0, 0]


async def test_the_worst_of_the_active_subscriptions_is_told(client: httpx.AsyncClient, database: Database) -> None:
    now = datetime.now(UTC)
    ids = [
        await add_subscription(database, failing_since=now - 2 * HOUR),
        await add_subscription(database, failing_since=now - 3 * HOUR),
        await add_subscription(database),
        await add_subscription(database, failing_since=now - 9 * HOUR, status=SubscriptionStatus.PAUSED),
        await add_subscription(database, failing_since=now - 9 * HOUR, status=SubscriptionStatus.DISABLED),
    ]
    assert await read(client) == [0, 3, 1]
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
    assert await read(client) == [5, 3, 1]
