"""Repairs what waits too long: lanes in which nothing is due, and due times that a wrong clock gave."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import Select, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import BackgroundJob, Database, OtherReplicaWorks, job_transaction
from app.database.sql import write
from app.database.types import after_seconds, among_ids, statement_now
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import MAX_RETRY_AFTER
from app.subscriptions.lane import is_pending, lock_lanes
from app.subscriptions.models import Delivery, Ordering, Subscription

log = structlog.get_logger(__name__)

CHECK_SECONDS = 60
CLOCK_SECONDS = 10
LANES_AT_ONCE = 1000  # repaired in one transaction
LONGEST_WAIT_SECONDS = int(MAX_RETRY_AFTER.total_seconds())  # of what the release before has written
SLACK_SECONDS = 1


class StalledLanes:
    """Makes stalled deliveries due, counts them, and logs an error, because there should be none."""

    def __init__(self, database: Database, metrics: WebhookMetrics, on_repaired: Callable[[], None]) -> None:
        self._database = database
        self._metrics = metrics
        self._on_repaired = on_repaired

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Repair all there are; ends between two transactions once `stopping` is set or another replica is at it.

        Raises:
            DatabaseUnavailable: when the database cannot serve now.
        """
        async with self._database.read() as session:
            subscriptions = await StalledRepository(session).list_orderings()
        with suppress(OtherReplicaWorks):
            for subscription_id, ordering in subscriptions.items():
                while not (stopping and stopping.is_set()) and await self._repair(subscription_id, ordering):
                    pass

    async def _repair(self, subscription_id: UUID, ordering: str) -> int:
        """Repair up to `LANES_AT_ONCE` lanes of a subscription; returns how many deliveries are due now."""
        async with self._database.read() as session:
            files = await StalledRepository(session).list_stalled(subscription_id, ordering, LANES_AT_ONCE)
        if not files:
            return 0
        async with job_transaction(self._database, BackgroundJob.STALLED) as session:
            repaired = await StalledRepository(session).mark_due(subscription_id, ordering, files)
        if repaired:
            self._metrics.stalled.inc(repaired)
            log.error("deliveries waited without a due time, and are due now", deliveries=repaired)
            self._on_repaired()
        return repaired


class ClockRepair:
    """Makes due what a clock that was ahead and was set back has put off: retries, leases, slow-downs."""

    def __init__(
        self, database: Database, lease: timedelta, metrics: WebhookMetrics, on_repaired: Callable[[], None]
    ) -> None:
        self._database = database
        self._lease_seconds = math.ceil(lease.total_seconds())
        self._metrics = metrics
        self._on_repaired = on_repaired

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Look at every due time that is ahead; raises `DatabaseUnavailable` when the database cannot serve."""
        async with self._database.read() as session:
            if not await ClockRepository(session).is_any_too_far(self._lease_seconds):
                return
        async with self._database.transaction(wait_for_standbys=False) as session:
            repository = ClockRepository(session)
            deliveries = await repository.mark_due(self._lease_seconds)
            subscriptions = await repository.end_slow_downs()
        if deliveries or subscriptions:
            self._metrics.corrected.inc(deliveries + subscriptions)
            log.warning("a clock was set back: due now", deliveries=deliveries, subscriptions=subscriptions)
            self._on_repaired()


class ClockRepository:
    """Due times that lie further ahead than any lease, retry or slow-down can set.

    They were written by a clock that was ahead. Rows that another transaction has locked are left for later.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def is_any_too_far(self, lease_seconds: int) -> bool:
        """Whether there is anything to do; takes no lock."""
        deliveries, subscriptions = (
            query.limit(1).scalar_subquery() for query in (_far(lease_seconds), _slow_too_long())
        )
        query = select(or_(deliveries.is_not(None), subscriptions.is_not(None)))
        return bool(await self._session.scalar(query))

    async def mark_due(self, lease_seconds: int) -> int:
        """Make these deliveries due; returns how many."""
        far = _far(lease_seconds).order_by(Delivery.id).with_for_update(skip_locked=True, of=Delivery)
        statement = update(Delivery).where(Delivery.id.in_(far)).values(due_at=statement_now(), wait_seconds=0)
        return await write(self._session, statement)

    async def end_slow_downs(self) -> int:
        """End these slow-downs; returns how many."""
        slow = _slow_too_long().order_by(Subscription.id).with_for_update(skip_locked=True, key_share=True)
        statement = update(Subscription).where(Subscription.id.in_(slow)).values(slow_until=statement_now())
        return await write(self._session, statement)


def _far(lease_seconds: int) -> Select[int]:
    """By way of the subscriptions, since the index of due times begins with them."""
    waited = func.coalesce(Delivery.wait_seconds, case((Delivery.failures == 0, 0), else_=LONGEST_WAIT_SECONDS))
    given = case((Delivery.claimed_by.is_not(None), lease_seconds), else_=waited) + SLACK_SECONDS
    return (
        select(Delivery.id)
        .select_from(Subscription)
        .join(Delivery, Delivery.subscription_id == Subscription.id)
        .where(Delivery.due_at > statement_now(), Delivery.due_at > after_seconds(statement_now(), given))
    )


def _slow_too_long() -> Select[UUID]:
    given = func.coalesce(Subscription.slow_seconds, LONGEST_WAIT_SECONDS) + SLACK_SECONDS
    return select(Subscription.id).where(Subscription.slow_until > after_seconds(statement_now(), given))


class StalledRepository:
    """Statements on stalled lanes. In a good one a delivery has a due time, also while it is being sent."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_orderings(self) -> dict[UUID, str]:
        rows = await self._session.execute(select(Subscription.id, Subscription.ordering))
        return {row.id: row.ordering for row in rows}

    async def list_stalled(self, subscription_id: UUID, ordering: str, limit: int) -> Sequence[UUID]:
        """Files of at most `limit` stalled lanes of one subscription; without an order, files of which any is not due.

        Reads its pending deliveries, which are bounded, and no others.
        """
        due = func.count(Delivery.due_at)
        query = (
            select(Delivery.file_id)
            .where(Delivery.subscription_id == subscription_id, is_pending())
            .group_by(Delivery.file_id)
            .having(due < func.count() if ordering == Ordering.NONE else due == 0)
            .limit(limit)
        )
        return (await self._session.scalars(query)).all()

    async def mark_due(self, subscription_id: UUID, ordering: str, files: Sequence[UUID]) -> int:
        """Make due what should be in the lanes that are still stalled; returns how many deliveries.

        That is the first one of a lane, or every one without an order. It is alone with the lanes until the end of the
        transaction.
        """
        await lock_lanes(self._session)
        pending = Delivery.subscription_id == subscription_id, is_pending(), among_ids(Delivery.file_id, files)
        first = select(func.min(Delivery.position)).where(*pending).group_by(Delivery.file_id)
        heads = first.having(func.count(Delivery.due_at) == 0)
        stalled = Delivery.due_at.is_(None) if ordering == Ordering.NONE else Delivery.position.in_(heads)
        return await write(self._session, update(Delivery).where(*pending, stalled).values(due_at=statement_now()))
