"""The statements that delete old history and the rows of deleted subscriptions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, delete, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import among, database_now, statement_now
from app.subscriptions.lane import lock_lanes, share_lanes
from app.subscriptions.models import Attempt, Delivery, DeliveryStatus, Subscription, SubscriptionStatus


class Examined(NamedTuple):
    """The last delivery that was examined, in the order in which they were settled."""

    settled_at: datetime
    id: int


class Page(NamedTuple):
    """The superseded deliveries among those examined, and the last one examined; None: there are no more."""

    superseded: Sequence[int]
    examined: Examined | None


class PruneRepository:
    """Each call deletes a bounded number of rows."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get_now(self) -> datetime:
        """The database's time."""
        return (await self._session.scalars(select(database_now()))).one()

    async def delete_attempts(self, before: datetime, limit: int) -> int:
        """Delete the oldest attempts that started before `before`; returns how many were deleted."""
        old = select(Attempt.id).where(Attempt.started_at < before).order_by(Attempt.started_at).limit(limit)
        statement = delete(Attempt).where(Attempt.id.in_(old)).execution_options(synchronize_session=False)
        return cast("CursorResult[Any]", await self._session.execute(statement)).rowcount

    async def list_superseded(self, before: datetime, after: Examined | None, limit: int) -> Page:
        """Examine the next `limit` deliveries after `after` that were delivered before `before`.

        Superseded is every delivered one except the last of its file and subscription; dead ones stay. It takes no
        lock, as most of these rows were examined an hour ago.
        """
        query = select(Delivery.settled_at, Delivery.id, _is_superseded().label("superseded")).where(
            Delivery.settled_at < before, Delivery.status == DeliveryStatus.DELIVERED
        )
        if after is not None:
            query = query.where(tuple_(Delivery.settled_at, Delivery.id) > tuple_(after.settled_at, after.id))
        rows = (await self._session.execute(query.order_by(Delivery.settled_at, Delivery.id).limit(limit))).all()
        last = Examined(rows[-1].settled_at, rows[-1].id) if len(rows) == limit else None
        return Page([row.id for row in rows if row.superseded], last)

    async def delete_superseded(self, delivery_ids: Sequence[int], before: datetime) -> None:
        """Delete the given deliveries that are still superseded."""
        await share_lanes(self._session)
        statement = delete(Delivery).where(
            among(Delivery.id, delivery_ids),
            Delivery.status == DeliveryStatus.DELIVERED,
            Delivery.settled_at < before,
            _is_superseded(),
        )
        await self._session.execute(statement.execution_options(synchronize_session=False))


class RemovalRepository:
    """Each call deletes a bounded number of rows."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

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
            await self._delete(delete(Attempt).where(among(Attempt.delivery_id, ids)))
            await self._delete(delete(Delivery).where(among(Delivery.id, ids)))
        return len(ids)

    async def delete_subscription(self, subscription_id: UUID) -> bool:
        """Delete the subscription if it has no deliveries, under the lanes' lock; returns whether it was deleted."""
        await lock_lanes(self._session)
        query = select(Delivery.id).where(Delivery.subscription_id == subscription_id)
        if await self._session.scalar(query.order_by(Delivery.position).limit(1)) is not None:
            return False
        statement = delete(Subscription).where(
            Subscription.id == subscription_id, Subscription.status == SubscriptionStatus.DELETED
        )
        return await self._delete(statement) > 0

    async def _delete(self, statement: Any) -> int:
        result = await self._session.execute(statement.execution_options(synchronize_session=False))
        return cast("CursorResult[Any]", result).rowcount


def _is_superseded() -> ColumnElement[bool]:
    newer = aliased(Delivery)
    return exists().where(
        newer.file_id == Delivery.file_id,
        newer.subscription_id == Delivery.subscription_id,
        newer.position > Delivery.position,
        newer.status == DeliveryStatus.DELIVERED,
    )
