"""Repairs lanes that stand still: a guard against whatever breaks the rule that one delivery of each lane is due."""

import asyncio
from collections.abc import Callable

import structlog

from app.database.engine import Database
from app.database.locks import BackgroundJob, try_lock_job
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.stalled_repository import StalledRepository

log = structlog.get_logger(__name__)

CHECK_SECONDS = 60
LANES_AT_ONCE = 1000  # repaired in one transaction


class StalledLanes:
    """Makes due what nothing else would, counts it, and logs an error, since there should be none."""

    def __init__(self, database: Database, metrics: WebhookMetrics, on_repaired: Callable[[], None]) -> None:
        self._database = database
        self._metrics = metrics
        self._on_repaired = on_repaired

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Repair all there are; ends between two transactions once `stopping` is set or another replica is at it.

        Raises:
            DatabaseUnavailable: when the database cannot serve now.
        """
        while not (stopping and stopping.is_set()):
            async with self._database.read() as session:
                lanes = await StalledRepository(session).list_stalled(LANES_AT_ONCE)
            if not lanes:
                return
            async with self._database.transaction() as session:
                if not await try_lock_job(session, BackgroundJob.STALLED):
                    return
                repaired = await StalledRepository(session).mark_due(lanes)
            if not repaired:
                return
            self._metrics.stalled.inc(repaired)
            log.error("deliveries waited without a due time, and are due now", deliveries=repaired)
            self._on_repaired()
