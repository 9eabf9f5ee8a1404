"""Reads deliveries, the attempts at them, and the progress of each subscription with a file."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, literal, null, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import statement_now
from app.errors import NotFound
from app.events.models import SyncEvent
from app.http.types import MAX_POSITION
from app.subscriptions.models import Attempt, Delivery, DeliveryStatus, FullLane, Subscription, SubscriptionStatus
from app.subscriptions.repository import count_deliveries

MAX_ATTEMPTS = 1000  # shown of one delivery
MAX_COUNTED = 1001

StoredDelivery = Row[*tuple[Any, ...]]  # a delivery and its event, with the members of `DeliveryView`
FileProgress = Row[UUID, str, int | None, int, int, bool]  # with the members of `FileSubscription`


class DeliveryUnknown(NotFound):
    detail = "There is no delivery with this id."


class HistoryRepository:
    """Deliveries of subscriptions that are not deleted.

    The list ends at the position `through` if there is one (`DurableWatermark`).
    """

    def __init__(self, session: AsyncSession, through: int | None = None) -> None:
        self._session = session
        self._through = through

    async def get(self, delivery_id: int) -> StoredDelivery:
        """One delivery; raises `DeliveryUnknown` when there is none."""
        row = (await self._session.execute(_deliveries().where(Delivery.id == delivery_id))).one_or_none()
        if row is None:
            raise DeliveryUnknown
        return row

    async def list_newest(
        self,
        subscription_id: UUID,
        *,
        status: str | None,
        file_id: UUID | None,
        before_position: int | None,
        limit: int,
        offset: int,
    ) -> Sequence[StoredDelivery]:
        query = _deliveries().where(Delivery.subscription_id == subscription_id)
        if before_position is not None:
            query = query.where(Delivery.position < before_position)
        if self._through is not None:
            query = query.where(Delivery.position <= self._through)
        if status is not None:
            query = query.where(Delivery.status == status)
        if file_id is not None:
            query = query.where(Delivery.file_id == file_id)
        query = query.order_by(Delivery.position.desc()).limit(limit).offset(offset)
        return (await self._session.execute(query)).all()

    async def list_of_event(self, position: int, *, limit: int, offset: int) -> Sequence[StoredDelivery]:
        """Deliveries of the event at `position`, in the order in which they were made."""
        query = _deliveries().where(Delivery.position == position).order_by(Delivery.id).limit(limit).offset(offset)
        return (await self._session.execute(query)).all()

    async def list_attempts(self, delivery_id: int) -> Sequence[Attempt]:
        """The last 1000 attempts, the newest first."""
        query = select(Attempt).where(Attempt.delivery_id == delivery_id).order_by(Attempt.id.desc())
        return (await self._session.scalars(query.limit(MAX_ATTEMPTS))).all()


def _deliveries() -> Select[*tuple[Any, ...]]:
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
            SyncEvent.id.label("event_id"),
            SyncEvent.event_type,
            Delivery.file_id,
            Delivery.position,
            Delivery.status,
            Delivery.attempts,
            last_outcome.label("last_outcome"),
            func.coalesce(is_sent, False).label("sending"),
            case((Delivery.claimed_by.is_(None), Delivery.due_at), else_=null()).label("next_attempt_at"),
            Delivery.created_at,
            Delivery.settled_at,
        )
        .join(SyncEvent, SyncEvent.position == Delivery.position)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .where(Subscription.status != SubscriptionStatus.DELETED)
    )


class ProgressRepository:
    """Of every subscription that is not deleted."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_of_file(self, file_id: UUID) -> Sequence[FileProgress]:
        """In the order in which the subscriptions were made; `pending` and `dead` are counted up to 1001."""
        of_file = Delivery.file_id == file_id
        query = (
            select(
                Subscription.id.label("subscription_id"),
                Subscription.status,
                _delivered_position(file_id).label("delivered_position"),
                count_deliveries(DeliveryStatus.PENDING, MAX_COUNTED, of_file).label("pending"),
                count_deliveries(DeliveryStatus.DEAD, MAX_COUNTED, of_file).label("dead"),
                _is_behind(file_id).label("behind"),
            )
            .where(Subscription.status != SubscriptionStatus.DELETED)
            .order_by(Subscription.created_at, Subscription.id)
        )
        return (await self._session.execute(query)).all()


def _delivered_position(file_id: UUID) -> ColumnElement[int | None]:
    pending = aliased(Delivery)
    first_pending = (
        select(pending.position)
        .where(pending.subscription_id == Subscription.id, pending.file_id == file_id)
        .where(pending.status == DeliveryStatus.PENDING)
        .order_by(pending.position)
        .limit(1)
        .correlate(Subscription)
        .scalar_subquery()
    )
    return (
        select(Delivery.position)
        .where(Delivery.file_id == file_id, Delivery.position < func.coalesce(first_pending, MAX_POSITION))
        .where(Delivery.subscription_id == Subscription.id, Delivery.status == DeliveryStatus.DELIVERED)
        .order_by(Delivery.position.desc())
        .limit(1)
        .correlate(Subscription)
        .scalar_subquery()
    )


def _is_behind(file_id: UUID) -> ColumnElement[bool]:
    of_lane = FullLane.subscription_id == Subscription.id, FullLane.file_id == file_id
    lane_cursor = select(FullLane.cursor).where(*of_lane).correlate(Subscription).scalar_subquery()
    cursor = func.coalesce(lane_cursor, case((Subscription.live, MAX_POSITION), else_=Subscription.cursor))
    last = select(func.max(SyncEvent.position)).where(SyncEvent.file_id == file_id).scalar_subquery()
    return func.coalesce(last > cursor, literal(False))
