"""Deletes the rows of deleted subscriptions."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.types import among, statement_now
from app.subscriptions.lane_lock import lock_lanes, share_lanes
from app.subscriptions.models import Attempt, Delivery, Subscription, SubscriptionStatus


class RemovalRepository:
    """Each call deletes a bounded number of rows."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_deleted(self) -> Sequence[UUID]:
        """Subscriptions that are deleted and still have a row."""
        query = select(Subscription.id).where(Subscription.status == SubscriptionStatus.DELETED)
        return (await self._session.scalars(query.order_by(Subscription.id))).all()

    async def delete_deliveries(self, subscription_id: UUID, limit: int) -> int:
        """Delete so many deliveries with their attempts; not those under a lease, whose results are still to come.

        Rows that another replica deletes right now are passed over. Returns how many deliveries were deleted.
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
        """Delete it once it has no deliveries, alone with the lanes, so that nobody adds any; whether that is done."""
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
