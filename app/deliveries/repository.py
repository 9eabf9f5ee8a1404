"""Makes settled deliveries pending again: redelivery and replay."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.types import among, json_has, statement_now
from app.deliveries.claim_repository import FENCE_LEAP
from app.events.models import SyncEvent
from app.subscriptions.lane import due_at_first, lock_lanes, rank_in_lane
from app.subscriptions.models import Delivery, DeliveryStatus, Subscription

MAX_AT_ONCE = 1000


class DeliveryRepository:
    """Each call takes the lanes' lock, until the transaction ends.

    A delivery that is made pending gets all its attempts again, in the order of its file. It counts as created now,
    and its fence leaps, which tells it from a first delivery.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def mark_pending(self, delivery_ids: Sequence[int]) -> int:
        """Deliver these again, whether they were delivered or are dead; returns how many were not pending."""
        return await self._mark_pending(among(Delivery.id, delivery_ids))

    async def mark_dead_pending(self, subscription_id: UUID) -> int:
        """Try the 1000 oldest dead ones of the subscription again and return how many they are; 0: there are none."""
        await lock_lanes(self._session)
        dead = (
            select(Delivery.id)
            .where(Delivery.subscription_id == subscription_id, Delivery.status == DeliveryStatus.DEAD)
            .order_by(Delivery.position)
            .limit(MAX_AT_ONCE)
        )
        return await self.mark_pending((await self._session.scalars(dead)).all())

    async def mark_range_pending(self, subscription_id: UUID, *, after: int, through: int) -> int:
        """Deliver matching events again, after the position `after`, up to and including `through`."""
        wanted = exists().where(
            SyncEvent.position == Delivery.position, json_has(Subscription.event_type_list, SyncEvent.event_type)
        )
        return await self._mark_pending(
            Delivery.subscription_id == subscription_id,
            Delivery.position > after,
            Delivery.position <= through,
            wanted,
        )

    async def _mark_pending(self, *conditions: ColumnElement[bool]) -> int:
        await lock_lanes(self._session)
        settled = (
            select(
                Delivery.id,
                Delivery.subscription_id,
                Delivery.file_id,
                Subscription.ordering,
                rank_in_lane(Delivery.subscription_id, Delivery.file_id, Delivery.position).label("rank"),
            )
            .join(Subscription, Subscription.id == Delivery.subscription_id)
            .where(Delivery.status != DeliveryStatus.PENDING, *conditions)
            .subquery()
        )
        again = select(
            settled.c.id,
            due_at_first(settled.c.ordering, settled.c.rank, settled.c.subscription_id, settled.c.file_id).label(
                "due_at"
            ),
        ).subquery()
        statement = (
            update(Delivery)
            .where(Delivery.id == again.c.id)
            .values(
                status=DeliveryStatus.PENDING,
                due_at=again.c.due_at,
                fence=Delivery.fence + FENCE_LEAP,
                attempts=0,
                failures=0,
                created_at=statement_now(),
                settled_at=None,
            )
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", await self._session.execute(statement)).rowcount
