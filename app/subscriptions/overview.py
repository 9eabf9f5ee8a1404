"""Reads subscriptions with their backlog."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import database_now
from app.errors import NotFound
from app.events.models import SweepCursor, SyncEvent, head_position
from app.subscriptions.models import Delivery, DeliveryStatus, Subscription, SubscriptionStatus

MAX_COUNTED = 10_001


class Overview(NamedTuple):
    """A subscription and its backlog. `pending` and `dead` are counted up to `MAX_COUNTED`."""

    subscription: Subscription
    now: datetime  # by the database's clock
    head: int  # the last position of the ledger
    swept: int  # up to where the sweep has got
    pending: int
    dead: int
    oldest_pending_at: datetime | None

    @property
    def reached(self) -> int:
        """Up to which position deliveries are written."""
        return self.swept if self.subscription.live else self.subscription.cursor

    @property
    def old_secret_until(self) -> datetime | None:
        """How long the old secret still signs along."""
        until = self.subscription.old_secret_until
        return until if until is not None and until > self.now else None


class OverviewRepository:
    """Subscriptions as operators see them: deleted ones are left out."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, subscription_id: UUID) -> Overview:
        """One subscription with its backlog.

        Raises:
            NotFound: when there is none.
        """
        query = _overviews().where(Subscription.id == subscription_id)
        row = (await self._session.execute(query)).one_or_none()
        if row is None:
            raise NotFound("There is no subscription with this id.")
        return Overview._make(row)

    async def list_oldest(self, *, status: str | None, limit: int, offset: int) -> Sequence[Overview]:
        """Subscriptions with their backlogs, oldest first."""
        query = _overviews().order_by(Subscription.created_at, Subscription.id).limit(limit).offset(offset)
        if status is not None:
            query = query.where(Subscription.status == status)
        return [Overview._make(row) for row in await self._session.execute(query)]

    async def count(self) -> int:
        """How many there are."""
        query = select(func.count()).select_from(Subscription).where(Subscription.status != SubscriptionStatus.DELETED)
        return (await self._session.scalars(query)).one()

    async def is_known(self, subscription_id: UUID) -> bool:
        """Whether there is one of this id."""
        query = select(Subscription.id).where(
            Subscription.id == subscription_id, Subscription.status != SubscriptionStatus.DELETED
        )
        return (await self._session.scalar(query)) is not None

    async def get_now(self) -> datetime:
        """The database's time."""
        return (await self._session.scalars(select(database_now()))).one()

    async def get_head(self) -> int:
        """The last position of the ledger."""
        return (await self._session.scalars(select(head_position()))).one()

    async def find_last_before(self, at: datetime) -> int:
        """The position of the last event that was recorded before then; 0 when there is none."""
        # `created_at` never falls while `position` rises, so a bound on time is a bound on position.
        newest_first = (SyncEvent.created_at.desc(), SyncEvent.position.desc())
        query = select(SyncEvent.position).where(SyncEvent.created_at < at).order_by(*newest_first).limit(1)
        return await self._session.scalar(query) or 0


def _overviews() -> Select[tuple[Subscription, datetime, int, int, int, int, datetime | None]]:
    pending = aliased(Delivery)
    # By way of the position, which an index has: the oldest is behind all that are settled.
    first = (
        select(pending.position)
        .where(pending.subscription_id == Subscription.id, pending.status == DeliveryStatus.PENDING)
        .order_by(pending.position)
        .limit(1)
        .correlate(Subscription)
        .scalar_subquery()
    )
    oldest = (
        select(Delivery.created_at)
        .where(Delivery.subscription_id == Subscription.id, Delivery.position == first)
        .correlate(Subscription)
        .scalar_subquery()
    )
    return select(
        Subscription,
        database_now(),
        head_position(),
        select(SweepCursor.position).scalar_subquery(),
        _count(DeliveryStatus.PENDING),
        _count(DeliveryStatus.DEAD),
        oldest,
    ).where(Subscription.status != SubscriptionStatus.DELETED)


def _count(status: DeliveryStatus) -> ColumnElement[int]:
    counted = (
        select(literal(1).label("one"))
        .where(Delivery.subscription_id == Subscription.id, Delivery.status == status)
        .order_by(Delivery.position)
        .limit(MAX_COUNTED)
        .correlate(Subscription)
        .subquery()
    )
    return select(func.count()).select_from(counted).scalar_subquery()
