"""Deletes what is not needed any more: old history, and the rows of deleted subscriptions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.database.locks import BackgroundJob, try_lock_job
from app.deliveries.cleanup_repository import Examined, PruneRepository, RemovalRepository

log = structlog.get_logger(__name__)

PRUNE_SECONDS = 3600
REMOVE_SECONDS = 60  # between two passes that nobody asked for
CHUNK_ROWS = 1000


class Pruning:
    """Deletes attempts and delivered deliveries after their retention, one chunk per transaction.

    The last delivered one of each file and subscription stays, so each pass reads most of what is delivered: a replica
    that finds another one pruning leaves the pass to that one.
    """

    def __init__(self, database: Database, retention: timedelta, chunk_rows: int = CHUNK_ROWS) -> None:
        self._database = database
        self._retention = retention
        self._chunk_rows = chunk_rows

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Delete everything that is too old; ends between chunks once `stopping` is set or another replica prunes."""
        async with self._database.read() as session:
            before = await PruneRepository(session).get_now() - self._retention
        stopping = stopping or asyncio.Event()
        with suppress(_OtherReplicaPrunes):
            await self._delete_attempts(before, stopping)
            await self._delete_deliveries(before, stopping)

    async def _delete_attempts(self, before: datetime, stopping: asyncio.Event) -> None:
        deleted = self._chunk_rows
        while deleted == self._chunk_rows and not stopping.is_set():
            async with self._locked() as session:
                deleted = await PruneRepository(session).delete_attempts(before, self._chunk_rows)

    async def _delete_deliveries(self, before: datetime, stopping: asyncio.Event) -> None:
        examined: Examined | None = None
        while not stopping.is_set():
            async with self._locked() as session:
                repository = PruneRepository(session)
                page = await repository.list_superseded(before, examined, self._chunk_rows)
                if page.superseded:
                    await repository.delete_superseded(page.superseded, before)
            examined = page.examined
            if examined is None:
                return

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[AsyncSession]:
        async with self._database.transaction() as session:
            if not await try_lock_job(session, BackgroundJob.PRUNE):
                raise _OtherReplicaPrunes
            yield session


class _OtherReplicaPrunes(Exception):
    """Another replica holds the job's lock."""


class Removal:
    """Deletes the deliveries of deleted subscriptions and then the subscriptions, one chunk per transaction.

    There may be millions of rows. Several replicas may do this at once.
    """

    def __init__(self, database: Database, chunk_rows: int = CHUNK_ROWS) -> None:
        self._database = database
        self._chunk_rows = chunk_rows

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Remove what can be removed now; ends between chunks once `stopping` is set.

        Raises:
            DatabaseUnavailable: the database cannot serve; the next pass continues.
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
