"""The webhooks of a process: what operators do with deliveries, and the background tasks."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from app.concurrency.task import PeriodicTask
from app.config import Settings
from app.database.engine import Database
from app.deliveries.catch_up import CatchUp
from app.deliveries.cleanup import PRUNE_SECONDS, REMOVE_SECONDS, Pruning, Removal
from app.deliveries.dispatcher import Dispatcher
from app.deliveries.fan_out import MAX_AT_ONCE, DeadFilter, DeliveryRepository
from app.deliveries.message import MessageFactory
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryPolicy
from app.deliveries.repair import CHECK_SECONDS, CLOCK_SECONDS, ClockRepair, StalledLanes
from app.deliveries.repository import HistoryRepository, StoredDelivery
from app.errors import Conflict
from app.events.repository import EventRepository
from app.outbound.address import AddressPolicy
from app.outbound.client import AttemptResponse, OutboundClient
from app.outbound.secret import create_cipher
from app.subscriptions.repository import OverviewRepository
from app.subscriptions.service import SubscriptionService

MAX_CHUNKS = 50


class DeliveryPending(Conflict):
    code, detail = "delivery-pending", "The delivery is pending, so there is nothing to redeliver."


class DeliveryService:
    """Calls `on_added` after each commit that made deliveries pending."""

    def __init__(
        self,
        database: Database,
        messages: MessageFactory,
        client: OutboundClient,
        *,
        on_added: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._messages = messages
        self._client = client
        self._on_added = on_added
        self._clock = clock

    async def redeliver(self, delivery_id: int) -> StoredDelivery:
        """Make a delivered or dead delivery pending again.

        Raises:
            NotFound: 404.
            DeliveryPending: 409.
        """
        async with self._database.transaction() as session:
            changed = await DeliveryRepository(session).mark_pending([delivery_id])
            delivery = await HistoryRepository(session).get(delivery_id)
            if not changed:
                raise DeliveryPending
        self._on_added()
        return delivery

    async def redeliver_dead(self, subscription_id: UUID) -> tuple[int, bool]:
        """Make dead deliveries of a subscription pending again, at most 50,000, one transaction per 1000.

        Returns how many they are, and whether there may be more.

        Raises:
            NotFound: 404.
        """
        total = 0
        for _ in range(MAX_CHUNKS):
            async with self._database.transaction() as session:
                await OverviewRepository(session).check_known(subscription_id)
                count = await DeliveryRepository(session).mark_dead_pending(subscription_id)
            self._on_added()
            total += count
            if count < MAX_AT_ONCE:
                return total, False
        return total, True

    async def redeliver_matching(
        self, subscription_id: UUID, wanted: DeadFilter, *, up_to_position: int, expected: int
    ) -> None:
        """Make the dead deliveries that match pending again, in one transaction, if they are `expected`.

        Raises:
            NotFound: 404.
            OtherCount: 409.
        """
        async with self._database.transaction() as session:
            await OverviewRepository(session).check_known(subscription_id)
            await DeliveryRepository(session).mark_matching_pending(
                subscription_id, wanted, up_to_position=up_to_position, expected=expected
            )
        self._on_added()

    async def ping(self, subscription_id: UUID) -> AttemptResponse:
        """Send a ping now, whatever the subscription's status, with no transaction open; it changes nothing.

        Raises:
            NotFound: 404.
            NoEncryptionKey, EncryptionKeyMissing: 503.
        """
        async with self._database.read() as session:
            overview = await OverviewRepository(session).get(subscription_id)
        stored = overview.subscription
        message = self._messages.signer(stored, overview.now).ping(uuid7(), stored.id, self._clock())
        return await self._client.send(stored.url, message.headers, message.body)


class DeliveryTasks:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        messages: MessageFactory,
        client: OutboundClient,
        metrics: WebhookMetrics,
    ) -> None:
        lease = timedelta(seconds=settings.webhook_lease)
        due = asyncio.Event()
        deleted = asyncio.Event()
        self.wake = due.set  # when there may be something to claim
        self.remove_soon = deleted.set  # when a subscription was deleted
        self._dispatcher = Dispatcher(
            database,
            messages,
            client,
            RetryPolicy.of(settings),
            concurrency=settings.webhook_concurrency,
            lease=lease,
            wake=due,
            metrics=metrics,
        )
        catch_up = CatchUp(database, on_added=self.wake)
        pruning = Pruning(database, timedelta(days=settings.webhook_retention_days))
        removal = Removal(database)
        stalled = StalledLanes(database, metrics, self.wake)
        clock = ClockRepair(database, lease, metrics, self.wake)
        leases, interval = self._dispatcher.leases, settings.webhook_poll_interval
        self._heartbeat = PeriodicTask("webhook-heartbeat", leases.run_once, settings.webhook_lease / 3)
        self._dispatch = PeriodicTask("webhook-dispatch", self._dispatcher.run_once, interval, due)
        self._others = (
            PeriodicTask("webhook-catch-up", catch_up.run_once, interval),
            PeriodicTask("webhook-prune", pruning.run_once, PRUNE_SECONDS),
            PeriodicTask("webhook-removal", removal.run_once, REMOVE_SECONDS, deleted),
            PeriodicTask("webhook-stalled", stalled.run_once, CHECK_SECONDS),
            PeriodicTask("webhook-clock", clock.run_once, CLOCK_SECONDS),
        )

    def start(self) -> None:
        for task in (self._heartbeat, self._dispatch, *self._others):
            task.start()

    async def stop(self, timeout_seconds: float) -> None:
        """Stop claiming, finish the deliveries under way within `timeout_seconds`, and release the rest."""
        await asyncio.gather(
            self._stop_dispatch(timeout_seconds), *(task.stop(timeout_seconds) for task in self._others)
        )
        await self._heartbeat.stop(timeout_seconds)

    async def _stop_dispatch(self, timeout_seconds: float) -> None:
        started = asyncio.get_running_loop().time()
        await self._dispatch.stop(timeout_seconds)
        spent = asyncio.get_running_loop().time() - started
        await self._dispatcher.stop(max(0, timeout_seconds - spent))


class Webhooks(NamedTuple):
    subscriptions: SubscriptionService
    deliveries: DeliveryService
    tasks: DeliveryTasks


@asynccontextmanager
async def open_webhooks(
    settings: Settings, database: Database, metrics: WebhookMetrics, trust: ssl.SSLContext | None = None
) -> AsyncIterator[Webhooks]:
    """The webhooks, whose tasks the caller starts and stops within the block.

    Raises:
        LocalSecretError: the key of local mode cannot be read or created.
        DatabaseUnavailable: the database cannot serve now.
    """
    policy, cipher = AddressPolicy.of(settings), create_cipher(settings)
    async with database.read() as session:
        ledger_id = await EventRepository(session).get_ledger_id()
    messages = MessageFactory(cipher, ledger_id, settings.api_version)
    client = OutboundClient(policy, settings.webhook_timeout, ssl_context=trust)
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
