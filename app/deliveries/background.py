"""The background tasks of the webhooks: dispatch, lease heartbeat, catch-up, pruning, removal, repair."""

import asyncio
from datetime import timedelta

from app.concurrency.periodic import PeriodicTask
from app.config import Settings
from app.database.engine import Database
from app.deliveries.catch_up import CatchUp
from app.deliveries.cleanup import PRUNE_SECONDS, REMOVE_SECONDS, Pruning, Removal
from app.deliveries.dispatcher import Dispatcher
from app.deliveries.message import MessageFactory
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryPolicy
from app.deliveries.stalled import CHECK_SECONDS, StalledLanes
from app.outbound.client import OutboundClient


class DeliveryTasks:
    """Starts and stops all of them together."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        messages: MessageFactory,
        client: OutboundClient,
        metrics: WebhookMetrics,
    ) -> None:
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
            lease=timedelta(seconds=settings.webhook_lease),
            wake=due,
            metrics=metrics,
        )
        catch_up = CatchUp(database, on_added=self.wake)
        pruning = Pruning(database, timedelta(days=settings.webhook_retention_days))
        removal = Removal(database)
        stalled = StalledLanes(database, metrics, self.wake)
        leases, interval = self._dispatcher.leases, settings.webhook_poll_interval
        self._heartbeat = PeriodicTask("webhook-heartbeat", leases.run_once, settings.webhook_lease / 3)
        self._dispatch = PeriodicTask("webhook-dispatch", self._dispatcher.run_once, interval, due)
        self._others = (
            PeriodicTask("webhook-catch-up", catch_up.run_once, interval),
            PeriodicTask("webhook-prune", pruning.run_once, PRUNE_SECONDS),
            PeriodicTask("webhook-removal", removal.run_once, REMOVE_SECONDS, deleted),
            PeriodicTask("webhook-stalled", stalled.run_once, CHECK_SECONDS),
        )

    def start(self) -> None:
        """Start all tasks."""
        for task in (self._heartbeat, self._dispatch, *self._others):
            task.start()

    async def stop(self, timeout_seconds: float) -> None:
        """Claim nothing more, finish what is under way within `timeout_seconds`, and give back the rest."""
        await asyncio.gather(
            self._stop_dispatch(timeout_seconds), *(task.stop(timeout_seconds) for task in self._others)
        )
        await self._heartbeat.stop(timeout_seconds)

    async def _stop_dispatch(self, timeout_seconds: float) -> None:
        started = asyncio.get_running_loop().time()
        await self._dispatch.stop(timeout_seconds)
        spent = asyncio.get_running_loop().time() - started
        await self._dispatcher.stop(max(0, timeout_seconds - spent))
