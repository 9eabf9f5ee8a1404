"""Deletes old history, and the rows of deleted subscriptions."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, delete, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.engine import BackgroundJob, Database, OtherReplicaWorks, job_transaction
from app.database.sql import read_now, write
from app.database.types import among, statement_now
from app.subscriptions.lane import lock_lanes, share_lanes
from app.subscriptions.models import Attempt, Delivery, DeliveryStatus, Subscription, SubscriptionStatus

log = structlog.get_logger(__name__)

PRUNE_SECONDS = 3600
REMOVE_SECONDS = 60  # between two scheduled passes
CHUNK_ROWS = 1000

SettledRow = Row[datetime | None, int, bool]  # `settled_at`, `id`, and whether it is `superseded`


class Pruning:
    """Deletes attempts and delivered deliveries after their retention, one chunk per transaction.

    The last delivered one of each file and subscription stays, so each pass reads most delivered rows: a replica
    that finds another one pruning leaves the pass to that one.
    """

    def __init__(self, database: Database, retention: timedelta, chunk_rows: int = CHUNK_ROWS) -> None:
        self._database = database
        self._retention = retention
        self._chunk_rows = chunk_rows

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Delete everything that is too old; ends between chunks once `stopping` is set or another replica prunes."""
        async with self._database.read() as session:
            before = await read_now(session) - self._retention
        stopping = stopping or asyncio.Event()
        with suppress(OtherReplicaWorks):
            await self._delete_attempts(before, stopping)
            await self._delete_deliveries(before, stopping)

    async def _delete_attempts(self, before: datetime, stopping: asyncio.Event) -> None:
        deleted = self._chunk_rows
        while deleted == self._chunk_rows and not stopping.is_set():
            async with job_transaction(self._database, BackgroundJob.PRUNE) as session:
                deleted = await CleanupRepository(session).delete_attempts(before, self._chunk_rows)

    async def _delete_deliveries(self, before: datetime, stopping: asyncio.Event) -> None:
        last: SettledRow | None = None
        while not stopping.is_set():
            async with job_transaction(self._database, BackgroundJob.PRUNE) as session:
                repository = CleanupRepository(session)
                rows = await repository.list_delivered(before, last, self._chunk_rows)
                if superseded := [row.id for row in rows if row.superseded]:
                    await repository.delete_superseded(superseded, before)
            if len(rows) < self._chunk_rows:
                return
            last = rows[-1]


class Removal:
    """Deletes the deliveries of deleted subscriptions and then the subscriptions, one chunk per transaction.

    There may be millions of rows. Several replicas may do this concurrently.
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
            deleted = await CleanupRepository(session).list_deleted()
        for subscription_id in deleted:
            while not (stopping and stopping.is_set()) and await self._remove_chunk(subscription_id):
                pass

    async def _remove_chunk(self, subscription_id: UUID) -> bool:
        """Delete up to `chunk_rows` deliveries, and after the last one the subscription; returns whether to go on."""
        async with self._database.transaction() as session:
            removed = await CleanupRepository(session).delete_deliveries(subscription_id, self._chunk_rows)
        if removed:
            return True
        async with self._database.transaction() as session:
            done = await CleanupRepository(session).delete_subscription(subscription_id)
        if done:
            log.info("subscription removed", subscription_id=str(subscription_id))
        return False


class CleanupRepository:
    """Each call deletes a bounded number of rows."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def delete_attempts(self, before: datetime, limit: int) -> int:
        """Delete the oldest attempts that started before `before`; returns how many were deleted."""
        old = select(Attempt.id).where(Attempt.started_at < before).order_by(Attempt.started_at).limit(limit)
        return await write(self._session, delete(Attempt).where(Attempt.id.in_(old)))

    async def list_delivered(self, before: datetime, last: SettledRow | None, limit: int) -> Sequence[SettledRow]:
        """The next `limit` deliveries after the row `last` that were delivered before `before`, oldest first.

        Superseded is every delivered one except the last of its file and subscription; dead ones stay. It takes no
        lock, as most of these rows were examined an hour ago.
        """
        query = select(Delivery.settled_at, Delivery.id, _is_superseded().label("superseded")).where(
            Delivery.settled_at < before, Delivery.status == DeliveryStatus.DELIVERED
        )
        if last is not None:
            query = query.where(tuple_(Delivery.settled_at, Delivery.id) > tuple_(last.settled_at, last.id))
        query = query.order_by(Delivery.settled_at, Delivery.id).limit(limit)
        return (await self._session.execute(query)).all()

    async def delete_superseded(self, delivery_ids: Sequence[int], before: datetime) -> None:
        """Delete the given deliveries that are still superseded."""
        await share_lanes(self._session)
        statement = delete(Delivery).where(
            among(Delivery.id, delivery_ids),
            Delivery.status == DeliveryStatus.DELIVERED,
            Delivery.settled_at < before,
            _is_superseded(),
        )
        await write(self._session, statement)

    async def list_deleted(self) -> Sequence[UUID]:
        """Deleted subscriptions that still have a row."""
        query = select(Subscription.id).where(Subscription.status == SubscriptionStatus.DELETED)
        return (await self._session.scalars(query.order_by(Subscription.id))).all()

    async def delete_deliveries(self, subscription_id: UUID, limit: int) -> int:
        """Delete up to `limit` deliveries with their attempts, except those under a lease, whose results are pending.

        Rows that another replica is deleting are skipped. Returns how many deliveries were deleted.
        """
        await share_lanes(self._session)
        free = or_(Delivery.claimed_by.is_(None), Delivery.due_at <= statement_now())
        query = select(Delivery.id).where(Delivery.subscription_id == subscription_id, free)
        query = query.order_by(Delivery.position).limit(limit).with_for_update(skip_locked=True)
        ids = (await self._session.scalars(query)).all()
        if ids:
            await write(self._session, delete(Attempt).where(among(Attempt.delivery_id, ids)))
            await write(self._session, delete(Delivery).where(among(Delivery.id, ids)))
        return len(ids)

    async def delete_subscription(self, subscription_id: UUID) -> bool:
        """Delete the subscription if it has no deliveries and is not locked, under the lanes' lock.

        Returns whether it was deleted.
        """
        await lock_lanes(self._session)
        query = select(Delivery.id).where(Delivery.subscription_id == subscription_id)
        if await self._session.scalar(query.order_by(Delivery.position).limit(1)) is not None:
            return False
        deleted = Subscription.id == subscription_id, Subscription.status == SubscriptionStatus.DELETED
        free = select(Subscription.id).where(*deleted).with_for_update(skip_locked=True)
        if await self._session.scalar(free) is None:
            return False
        return await write(self._session, delete(Subscription).where(*deleted)) > 0


def _is_superseded() -> ColumnElement[bool]:
    newer = aliased(Delivery)
    return exists().where(
        newer.file_id == Delivery.file_id,
        newer.subscription_id == Delivery.subscription_id,
        newer.position > Delivery.position,
        newer.status == DeliveryStatus.DELIVERED,
    )
