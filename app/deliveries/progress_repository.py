"""Reads the progress of each subscription with one file."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.events.models import SyncEvent
from app.subscriptions.models import Delivery, DeliveryStatus, FullLane, Subscription, SubscriptionStatus

MAX_COUNTED = 1001
_NOWHERE = 2**63 - 1


class FileProgress(NamedTuple):
    """One subscription and one file. `pending` and `dead` are counted up to 1001."""

    subscription_id: UUID
    status: str
    delivered_position: int | None  # of the last delivered event before the first pending one
    pending: int
    dead: int
    behind: bool  # whether events of the file may wait in the ledger


class ProgressRepository:
    """Of every subscription that is not deleted."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_of_file(self, file_id: UUID) -> Sequence[FileProgress]:
        """In the order in which the subscriptions were made."""
        query = (
            select(
                Subscription.id,
                Subscription.status,
                _delivered_position(file_id),
                _count(file_id, DeliveryStatus.PENDING),
                _count(file_id, DeliveryStatus.DEAD),
                _is_behind(file_id),
            )
            .where(Subscription.status != SubscriptionStatus.DELETED)
            .order_by(Subscription.created_at, Subscription.id)
        )
        return [FileProgress._make(row) for row in await self._session.execute(query)]


class FileProgressReader:
    """`ProgressRepository` for domains that bring their own session."""

    async def list_of_file(self, session: AsyncSession, file_id: UUID) -> Sequence[FileProgress]:
        """See `ProgressRepository`."""
        return await ProgressRepository(session).list_of_file(file_id)


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
        .where(Delivery.file_id == file_id, Delivery.position < func.coalesce(first_pending, _NOWHERE))
        .where(Delivery.subscription_id == Subscription.id, Delivery.status == DeliveryStatus.DELIVERED)
        .order_by(Delivery.position.desc())
        .limit(1)
        .correlate(Subscription)
        .scalar_subquery()
    )


def _is_behind(file_id: UUID) -> ColumnElement[bool]:
    of_lane = FullLane.subscription_id == Subscription.id, FullLane.file_id == file_id
    lane_cursor = select(FullLane.cursor).where(*of_lane).correlate(Subscription).scalar_subquery()
    cursor = func.coalesce(lane_cursor, case((Subscription.live, _NOWHERE), else_=Subscription.cursor))
    last = select(func.max(SyncEvent.position)).where(SyncEvent.file_id == file_id).scalar_subquery()
    return func.coalesce(last > cursor, literal(False))


def _count(file_id: UUID, status: DeliveryStatus) -> ColumnElement[int]:
    counted = (
        select(literal(1).label("one"))
        .where(Delivery.subscription_id == Subscription.id, Delivery.file_id == file_id, Delivery.status == status)
        .limit(MAX_COUNTED)
        .correlate(Subscription)
        .subquery()
    )
    return select(func.count()).select_from(counted).scalar_subquery()
