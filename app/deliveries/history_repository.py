"""Reads deliveries and the attempts at them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, case, func, null, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.types import statement_now
from app.errors import NotFound
from app.events.models import SyncEvent
from app.subscriptions.models import Attempt, Delivery, Subscription, SubscriptionStatus

MAX_ATTEMPTS = 1000  # shown of one delivery


class StoredDelivery(NamedTuple):
    """A delivery and its event. `next_attempt_at` is None when it is settled, being sent, or waits for another one."""

    id: int
    subscription_id: UUID
    event_id: UUID
    event_type: str
    file_id: UUID
    position: int
    status: str
    attempts: int
    last_outcome: str | None
    sending: bool
    next_attempt_at: datetime | None
    created_at: datetime
    settled_at: datetime | None


class HistoryRepository:
    """Deliveries of subscriptions that are not deleted.

    The list ends at the position `through` if there is one (`DurableWatermark`).
    """

    def __init__(self, session: AsyncSession, through: int | None = None) -> None:
        self._session = session
        self._through = through

    async def get(self, delivery_id: int) -> StoredDelivery:
        """One delivery.

        Raises:
            NotFound: when there is none.
        """
        row = (await self._session.execute(_deliveries().where(Delivery.id == delivery_id))).one_or_none()
        if row is None:
            raise NotFound("There is no delivery with this id.")
        return StoredDelivery._make(row)

    async def list_newest(
        self, subscription_id: UUID, *, status: str | None, file_id: UUID | None, limit: int, offset: int
    ) -> Sequence[StoredDelivery]:
        """Deliveries of a subscription by falling position."""
        query = _deliveries().where(Delivery.subscription_id == subscription_id)
        if self._through is not None:
            query = query.where(Delivery.position <= self._through)
        if status is not None:
            query = query.where(Delivery.status == status)
        if file_id is not None:
            query = query.where(Delivery.file_id == file_id)
        query = query.order_by(Delivery.position.desc()).limit(limit).offset(offset)
        return [StoredDelivery._make(row) for row in await self._session.execute(query)]

    async def list_of_event(self, position: int, *, limit: int, offset: int) -> Sequence[StoredDelivery]:
        """Deliveries of the event at `position`, in the order in which they were made."""
        query = _deliveries().where(Delivery.position == position).order_by(Delivery.id).limit(limit).offset(offset)
        return [StoredDelivery._make(row) for row in await self._session.execute(query)]

    async def list_attempts(self, delivery_id: int) -> Sequence[Attempt]:
        """The last 1000 attempts, the newest first."""
        query = select(Attempt).where(Attempt.delivery_id == delivery_id).order_by(Attempt.id.desc())
        return (await self._session.scalars(query.limit(MAX_ATTEMPTS))).all()


def _deliveries() -> Select[Any]:
    last_outcome = (
        select(Attempt.outcome)
        .where(Attempt.delivery_id == Delivery.id)
        .order_by(Attempt.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    is_sent = and_(Delivery.claimed_by.is_not(None), Delivery.due_at > statement_now())
    return (
        select(
            Delivery.id,
            Delivery.subscription_id,
            SyncEvent.id,
            SyncEvent.event_type,
            Delivery.file_id,
            Delivery.position,
            Delivery.status,
            Delivery.attempts,
            last_outcome,
            func.coalesce(is_sent, False),
            case((Delivery.claimed_by.is_(None), Delivery.due_at), else_=null()),
            Delivery.created_at,
            Delivery.settled_at,
        )
        .join(SyncEvent, SyncEvent.position == Delivery.position)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .where(Subscription.status != SubscriptionStatus.DELETED)
    )
