"""Removes what deleted subscriptions leave behind."""

import asyncio
from uuid import UUID

import structlog

from app.database.engine import Database
from app.deliveries.removal_repository import RemovalRepository

log = structlog.get_logger(__name__)

REMOVE_SECONDS = 60  # between two passes that nobody asked for
CHUNK_ROWS = 1000


class Removal:
    """Deletes deliveries and then their subscription, a chunk in each transaction: there may be millions.

    Any replica may do so, and several at once.
    """

    def __init__(self, database: Database, chunk_rows: int = CHUNK_ROWS) -> None:
        self._database = database
        self._chunk_rows = chunk_rows

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Remove what can be removed now; ends between chunks once `stopping` is set.

        Raises:
            DatabaseUnavailable: when the database can not serve; the next pass goes on.
        """
        async with self._database.read() as session:
            deleted = await RemovalRepository(session).list_deleted()
        for subscription_id in deleted:
            removed = 1
            while removed and not (stopping and stopping.is_set()):
                removed = await self._remove_chunk(subscription_id)

    async def _remove_chunk(self, subscription_id: UUID) -> int:
        async with self._database.transaction() as session:
            removed = await RemovalRepository(session).delete_deliveries(subscription_id, self._chunk_rows)
        if removed:
            return removed
        async with self._database.transaction() as session:
            done = await RemovalRepository(session).delete_subscription(subscription_id)
        if done:
            log.info("subscription removed", subscription_id=str(subscription_id))
        return 0
