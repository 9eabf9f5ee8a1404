"""Builds what the webhooks consist of: the services of their routes and their background tasks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from app.config import Settings
from app.database.engine import Database
from app.deliveries.background import DeliveryTasks
from app.deliveries.message import MessageFactory
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.service import DeliveryService
from app.events.repository import EventRepository
from app.outbound.address import AddressPolicy
from app.outbound.cipher import create_cipher
from app.outbound.client import OutboundClient
from app.subscriptions.service import SubscriptionService


class Webhooks(NamedTuple):
    """The parts of the webhooks in one process."""

    subscriptions: SubscriptionService
    deliveries: DeliveryService
    tasks: DeliveryTasks


@asynccontextmanager
async def open_webhooks(settings: Settings, database: Database, metrics: WebhookMetrics) -> AsyncIterator[Webhooks]:
    """The webhooks, whose tasks the caller starts and stops within the block.

    Raises:
        LocalSecretError: the key of local mode cannot be read or created.
        DatabaseUnavailable: the database cannot serve now.
    """
    policy, cipher = AddressPolicy.of(settings), create_cipher(settings)
    async with database.read() as session:
        ledger_id = await EventRepository(session).get_ledger_id()
    messages = MessageFactory(cipher, ledger_id, settings.api_version)
    client = OutboundClient(policy, settings.webhook_timeout)
    try:
        tasks = DeliveryTasks(settings, database, messages, client, metrics)
        yield Webhooks(
            SubscriptionService(
                database,
                cipher,
                policy,
                max_subscriptions=settings.webhook_max_subscriptions,
                on_changed=tasks.wake,
                on_deleted=tasks.remove_soon,
            ),
            DeliveryService(database, messages, client, on_added=tasks.wake),
            tasks,
        )
    finally:
        await client.close()
