"""The webhooks of a process: what operators do with deliveries, and the background tasks."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from app.concurrency.task import PeriodicTask
from app.config import Settings
from app.database.engine import Database
from app.deliveries.catch_up import CatchUp
from app.deliveries.cleanup import PRUNE_SECONDS, REMOVE_SECONDS, Pruning, Removal
from app.deliveries.dispatcher import Dispatcher
from app.deliveries.history import HistoryRepository, StoredDelivery
from app.deliveries.message import MessageFactory
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryPolicy
from app.deliveries.repository import REDELIVERED_AT_ONCE, DeliveryRepository
from app.deliveries.schemas import BulkRedelivery, RedeliveryResult
from app.deliveries.stalled import CHECK_SECONDS, CLOCK_SECONDS, ClockRepair, StalledLanes
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
        on_added: Callable[[], None],
    ) -> None:
        self._database = database
        self._messages = messages
        self._client = client
        self._on_added = on_added

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

    async def redeliver_dead(self, subscription_id: UUID) -> RedeliveryResult:
        """Make dead deliveries of a subscription pending again, at most 50,000, one transaction per 1000.

        Raises:
            NotFound: 404.
        """
        total, count = 0, REDELIVERED_AT_ONCE
        while count == REDELIVERED_AT_ONCE and total < MAX_CHUNKS * REDELIVERED_AT_ONCE:
            async with self._database.transaction() as session:
                await OverviewRepository(session).check_known(subscription_id)
                count = await DeliveryRepository(session).mark_dead_pending(subscription_id)
            self._on_added()
            total += count
        return RedeliveryResult(redelivered=total, has_more=count == REDELIVERED_AT_ONCE)

    async def redeliver_matching(self, subscription_id: UUID, bulk: BulkRedelivery) -> None:
        """Make the dead deliveries that match pending again, in one transaction, if they are `bulk.expected`.

        Raises:
            NotFound: 404.
            OtherCount: 409.
        """
        async with self._database.transaction() as session:
            await OverviewRepository(session).check_known(subscription_id)
            await DeliveryRepository(session).mark_matching_pending(
                subscription_id,
                **bulk.filter.model_dump(),
                up_to_position=bulk.up_to_position,
                expected=bulk.expected,
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
        headers, body = self._messages.signer(stored, overview.now).ping(uuid7(), stored.id, datetime.now(UTC))
        return await self._client.send(stored.url, headers, body)


class Webhooks:
    """The services of the routes, and the background tasks; `wake` says that there may be something to claim."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        client: OutboundClient,
        *,
        policy: AddressPolicy,
        ledger_id: UUID,
        metrics: WebhookMetrics,
    ) -> None:
        cipher = create_cipher(settings)
        messages = MessageFactory(cipher, ledger_id, settings.api_version)
        due, deleted = asyncio.Event(), asyncio.Event()
        self.wake = due.set
        self.deliveries = DeliveryService(database, messages, client, on_added=self.wake)
        self.subscriptions = SubscriptionService(
            database,
            cipher,
            policy,
            max_subscriptions=settings.webhook_max_subscriptions,
            on_changed=self.wake,
            on_deleted=deleted.set,
        )
        self._dispatcher = Dispatcher(
            database,
            messages,
            client,
            RetryPolicy.of(settings),
            concurrency=settings.webhook_concurrency,
            lease=timedelta(seconds=settings.webhook_lease),
            wake=due,
            metrics=metrics,
        )
        leases, interval = self._dispatcher.leases, settings.webhook_poll_interval
        self._heartbeat = PeriodicTask("webhook-heartbeat", leases.run_once, settings.webhook_lease / 3)
        self._dispatch = PeriodicTask("webhook-dispatch", self._dispatcher.run_once, interval, due)
        self._others = _create_others(settings, database, metrics, self.wake, deleted)

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


def _create_others(
    settings: Settings, database: Database, metrics: WebhookMetrics, wake: Callable[[], None], deleted: asyncio.Event
) -> Sequence[PeriodicTask]:
    catch_up = CatchUp(database, on_added=wake)
    pruning = Pruning(database, timedelta(days=settings.webhook_retention_days))
    stalled = StalledLanes(database, metrics, wake)
    clock = ClockRepair(database, timedelta(seconds=settings.webhook_lease), metrics, wake)
    return (
        PeriodicTask("webhook-catch-up", catch_up.run_once, settings.webhook_poll_interval),
        PeriodicTask("webhook-prune", pruning.run_once, PRUNE_SECONDS),
        PeriodicTask("webhook-removal", Removal(database).run_once, REMOVE_SECONDS, deleted),
        PeriodicTask("webhook-stalled", stalled.run_once, CHECK_SECONDS),
        PeriodicTask("webhook-clock", clock.run_once, CLOCK_SECONDS),
    )


@asynccontextmanager
async def open_webhooks(
    settings: Settings, database: Database, metrics: WebhookMetrics, trust: ssl.SSLContext | None = None
) -> AsyncIterator[Webhooks]:
    """The webhooks, which the caller starts and stops within the block.

    Raises:
        LocalSecretError: the key of local mode cannot be read or created.
        DatabaseUnavailable: the database cannot serve now.
    """
    policy = AddressPolicy.of(settings)
    async with database.read() as session:
        ledger_id = await EventRepository(session).get_ledger_id()
    client = OutboundClient(policy, settings.webhook_timeout, ssl_context=trust)
    try:
        yield Webhooks(settings, database, client, policy=policy, ledger_id=ledger_id, metrics=metrics)
    finally:
        await client.close()
