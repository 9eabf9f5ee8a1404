"""Repairs lanes that stand still: a guard against whatever breaks the rule that one delivery of each lane is due."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    and_,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.database.locks import BackgroundJob, OtherReplicaWorks, job_transaction
from app.database.sql import bound_rows, write
from app.database.types import statement_now
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.settlement_repository import LANE, Lane
from app.subscriptions.lane import is_pending, lock_lanes
from app.subscriptions.models import Delivery, Ordering, Subscription

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
            repaired = 0
            with suppress(OtherReplicaWorks):
                if lanes:
                    async with job_transaction(self._database, BackgroundJob.STALLED) as session:
                        repaired = await StalledRepository(session).mark_due(lanes)
            if not repaired:
                return
            self._metrics.stalled.inc(repaired)
            log.error("deliveries waited without a due time, and are due now", deliveries=repaired)
            self._on_repaired()


class StalledRepository:
    """Statements on stalled lanes. In a good one a delivery has a due time, also while it is being sent."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_stalled(self, limit: int) -> Sequence[Lane]:
        """At most `limit` of them, and files of subscriptions without order of which any is not due.

        Reads every pending delivery there is.
        """
        due, unordered = func.count(Delivery.due_at), Subscription.ordering == Ordering.NONE
        query = (
            select(Delivery.subscription_id, Delivery.file_id)
            .join(Subscription)
            .where(is_pending())
            .group_by(Delivery.subscription_id, Delivery.file_id, Subscription.ordering)
            .having(or_(due == 0, and_(unordered, due < func.count())))
            .limit(limit)
        )
        return [(subscription_id, file_id) for subscription_id, file_id in await self._session.execute(query)]

    async def mark_due(self, lanes: Sequence[Lane]) -> int:
        """Make due what should be in those of the `lanes` that are still stalled; returns how many deliveries.

        That is the first one of a lane, or every one without an order. It is alone with the lanes until the end of the
        transaction.
        """
        await lock_lanes(self._session)
        bound = bound_rows(self._session.get_bind().dialect, LANE, sorted(lanes))
        unordered = select(Subscription.id).where(Subscription.ordering == Ordering.NONE)
        free = (*_is_pending_in(bound), Delivery.due_at.is_(None), Delivery.subscription_id.in_(unordered))
        due = _first_of(bound, Delivery.due_at.is_not(None))
        heads = select(_first_of(bound).label("id")).select_from(bound).where(due.is_(None)).subquery()
        return await self._mark_due(*free) + await self._mark_due(Delivery.id == heads.c.id)

    async def _mark_due(self, *conditions: ColumnElement[bool]) -> int:
        return await write(self._session, update(Delivery).where(*conditions).values(due_at=statement_now()))


def _is_pending_in(lane: FromClause) -> tuple[ColumnElement[bool], ...]:
    return Delivery.subscription_id == lane.c.subscription_id, Delivery.file_id == lane.c.file_id, is_pending()


def _first_of(lane: FromClause, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """The first pending delivery of a lane that meets the `conditions`."""
    query = select(Delivery.id).where(*_is_pending_in(lane), *conditions)
    return query.order_by(Delivery.position).limit(1).correlate(lane).scalar_subquery()
