"""Prunes the history of the webhooks."""

import asyncio
from datetime import timedelta

from app.database.engine import Database
from app.webhooks.prune_repository import Examined, PruneRepository

CHUNK_ROWS = 1000


class Pruning:
    """Deletes attempts and delivered deliveries after their retention, a chunk in each transaction."""

    def __init__(self, database: Database, retention: timedelta, chunk_rows: int = CHUNK_ROWS) -> None:
        self._database = database
        self._retention = retention
        self._chunk_rows = chunk_rows

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Delete whatever is too old; ends between chunks once `stopping` is set."""
        async with self._database.read() as session:
            before = await PruneRepository(session).get_now() - self._retention
        deleted = self._chunk_rows
        while deleted == self._chunk_rows and not (stopping and stopping.is_set()):
            async with self._database.transaction() as session:
                deleted = await PruneRepository(session).delete_attempts(before, self._chunk_rows)
        examined: Examined | None = None
        while not (stopping and stopping.is_set()):
            async with self._database.transaction() as session:
                examined = await PruneRepository(session).delete_deliveries(before, examined, self._chunk_rows)
            if examined is None:
                break
