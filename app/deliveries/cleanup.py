"""Prunes the history of the webhooks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.database.advisory_lock import Work, take_turn
from app.database.engine import Database
from app.deliveries.prune_repository import Examined, PruneRepository

CHUNK_ROWS = 1000


class Pruning:
    """Deletes attempts and delivered deliveries after their retention, a chunk in each transaction.

    Of what is delivered most stays, one for each file and subscription, and is looked through each time: so whoever
    finds another replica at it leaves it to that one.
    """

    def __init__(self, database: Database, retention: timedelta, chunk_rows: int = CHUNK_ROWS) -> None:
        self._database = database
        self._retention = retention
        self._chunk_rows = chunk_rows

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Delete whatever is too old; ends between chunks once `stopping` is set or another replica is at it."""
        async with self._database.read() as session:
            before = await PruneRepository(session).get_now() - self._retention
        stopping = stopping or asyncio.Event()
        with suppress(_Elsewhere):
            await self._delete_attempts(before, stopping)
            await self._delete_deliveries(before, stopping)

    async def _delete_attempts(self, before: datetime, stopping: asyncio.Event) -> None:
        deleted = self._chunk_rows
        while deleted == self._chunk_rows and not stopping.is_set():
            async with self._alone() as session:
                deleted = await PruneRepository(session).delete_attempts(before, self._chunk_rows)

    async def _delete_deliveries(self, before: datetime, stopping: asyncio.Event) -> None:
        examined: Examined | None = None
        while not stopping.is_set():
            async with self._alone() as session:
                repository = PruneRepository(session)
                page = await repository.list_superseded(before, examined, self._chunk_rows)
                if page.superseded:
                    await repository.delete_superseded(page.superseded, before)
            examined = page.examined
            if examined is None:
                return

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[AsyncSession]:
        async with self._database.transaction() as session:
            if not await take_turn(session, Work.PRUNE):
                raise _Elsewhere
            yield session


class _Elsewhere(Exception):
    """Another replica is at it."""
