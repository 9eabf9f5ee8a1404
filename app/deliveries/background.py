"""What the webhooks do in the background of a process: dispatch, keep leases, catch up, prune, remove."""

import asyncio

from app.concurrency.periodic import PeriodicTask
from app.deliveries.catch_up import CatchUp
from app.deliveries.cleanup import Pruning
from app.deliveries.dispatcher import Dispatcher
from app.deliveries.removal import REMOVE_SECONDS, Removal

PRUNE_SECONDS = 3600


class Background:
    """Starts and stops it together. A pass of the dispatcher begins at once when `wake` is set."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        catch_up: CatchUp,
        pruning: Pruning,
        removal: Removal,
        *,
        wake: asyncio.Event,
        poll_interval_seconds: float,
    ) -> None:
        self._dispatcher = dispatcher
        heartbeat_seconds = dispatcher.leases.lease.total_seconds() / 3
        self._heartbeat = PeriodicTask("webhook-heartbeat", dispatcher.leases.run_once, heartbeat_seconds)
        self._dispatch = PeriodicTask("webhook-dispatch", dispatcher.run_once, poll_interval_seconds, wake)
        self._catch_up = PeriodicTask("webhook-catch-up", catch_up.run_once, poll_interval_seconds)
        self._prune = PeriodicTask("webhook-prune", pruning.run_once, PRUNE_SECONDS)
        self._deleted = asyncio.Event()
        self._remove = PeriodicTask("webhook-removal", removal.run_once, REMOVE_SECONDS, self._deleted)
        self.remove_soon = self._deleted.set

    def start(self) -> None:
        """Start all of it."""
        for task in (self._heartbeat, self._dispatch, self._catch_up, self._prune, self._remove):
            task.start()

    async def stop(self, timeout_seconds: float) -> None:
        """Claim nothing more, wait for what is under way for so long, and give back the rest."""
        await asyncio.gather(
            self._stop_dispatch(timeout_seconds),
            self._catch_up.stop(timeout_seconds),
            self._prune.stop(timeout_seconds),
            self._remove.stop(timeout_seconds),
        )
        await self._heartbeat.stop(timeout_seconds)

    async def _stop_dispatch(self, timeout_seconds: float) -> None:
        started = asyncio.get_running_loop().time()
        await self._dispatch.stop(timeout_seconds)
        spent = asyncio.get_running_loop().time() - started
        await self._dispatcher.stop(max(0, timeout_seconds - spent))
