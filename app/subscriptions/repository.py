"""Reads subscriptions with their backlog, and changes them and their progress."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, literal, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.sql import count_up_to, write
from app.database.types import database_now
from app.errors import NotFound
from app.events.models import SweepCursor, SyncEvent, head_position, last_position
from app.subscriptions.lane import Column, is_full, limit_lock_wait, list_long_lanes, lock_lanes
from app.subscriptions.models import Delivery, DeliveryStatus, Subscription, SubscriptionStatus

ROW_LOCK_MILLISECONDS = 500
MAX_HASTENED = 10_000  # waiting deliveries that become due when a subscription is active again


class SubscriptionUnknown(NotFound):
    detail = "There is no subscription with this id."


class SubscriptionRepository:
    """Writes subscriptions, and where their deliveries come from.

    `add_subscription`, `get_for_change` and `find_for_change` wait until they are alone with the lanes, and stay so
    until the transaction ends: call them before anything that locks a row, and commit soon. The `mark_*` and
    `add_replay` work on what these gave.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_subscription(self, subscription: Subscription, *, after: int | None) -> None:
        """Add it; it gets the events after the position `after`, or, with None, those recorded from now on."""
        await lock_lanes(self._session)
        subscription.live = after is None
        start = await OverviewRepository(self._session).get_head() if after is None else after
        subscription.start_position = subscription.cursor = start
        self._session.add(subscription)
        await self._session.flush()

    async def get_for_change(self, subscription_id: UUID) -> Subscription:
        """The subscription, locked until the transaction ends.

        Nobody else gets the lanes meanwhile, so the transaction waits at most `ROW_LOCK_MILLISECONDS` for a lock of
        another one, on this row or a later one.

        Raises:
            SubscriptionUnknown: there is none.
            DatabaseUnavailable: it stays locked, once the transaction has ended with this.
        """
        await lock_lanes(self._session)
        await limit_lock_wait(self._session, ROW_LOCK_MILLISECONDS)
        found = await self._session.scalar(_for_change(subscription_id))
        if found is None:
            raise SubscriptionUnknown
        return found

    async def find_for_change(self, subscription_id: UUID) -> Subscription | None:
        """The subscription, locked until the transaction ends; None when there is none or another one has locked it."""
        await lock_lanes(self._session)
        return await self._session.scalar(_for_change(subscription_id, skip_locked=True))

    async def mark_paused(self, subscription: Subscription) -> None:
        """Send nothing while it is paused; its backlog is its position in the ledger."""
        await self._mark_inactive(subscription, SubscriptionStatus.PAUSED, None)

    async def mark_disabled(self, subscription: Subscription, reason: str) -> None:
        """Send nothing, by the service's own decision; the version rises, so that no client undoes it unseen."""
        subscription.version += 1
        await self._mark_inactive(subscription, SubscriptionStatus.DISABLED, reason)

    async def mark_deleted(self, subscription: Subscription) -> None:
        """Hide it, stop its deliveries, and forget its secrets."""
        await self._mark_inactive(subscription, SubscriptionStatus.DELETED, None)
        subscription.cursor = 0  # of events processed late, too
        subscription.secret = b""
        subscription.old_secret = subscription.old_secret_until = subscription.headers = None

    async def _mark_inactive(self, subscription: Subscription, status: SubscriptionStatus, reason: str | None) -> None:
        await self.mark_behind(subscription)
        subscription.status = status
        subscription.status_reason = reason

    async def mark_behind(self, subscription: Subscription) -> None:
        """Stop writing its deliveries in the sweep; the catch-up will continue from the sweep's present position."""
        if subscription.live:
            subscription.live = False
            subscription.cursor = await self.get_sweep_cursor()

    async def mark_active(self, subscription: Subscription) -> None:
        """Send again, with its failures forgotten, also when it was slowed down; the catch-up makes it live."""
        subscription.status = SubscriptionStatus.ACTIVE
        subscription.status_reason = None
        await self.mark_fresh(subscription)

    async def mark_fresh(self, subscription: Subscription) -> None:
        """Forget its failures, and make deliveries due now that wait for their next attempt."""
        subscription.failing_since = subscription.slow_until = None
        subscription.slow_count = 0
        waiting = (
            select(Delivery.id)
            .where(Delivery.subscription_id == subscription.id, Delivery.due_at > database_now())
            .where(Delivery.claimed_by.is_(None))
            .order_by(Delivery.due_at, Delivery.position)
            .limit(MAX_HASTENED)
        )
        await write(
            self._session,
            update(Delivery).where(Delivery.id.in_(waiting)).values(due_at=database_now(), wait_seconds=0),
        )

    async def add_replay(self, subscription: Subscription, *, after: int, through: int | None = None) -> bool:
        """Deliver the events after the position `after` again, up to and including `through`; None: up to now.

        Takes the place of a replay under way. Events without a first delivery yet are left out, because they come
        anyway; false when no other event is in the range.
        """
        reached = await self.get_sweep_cursor()
        if not subscription.live:
            reached = min(reached, subscription.cursor)
        until = reached if through is None else min(through, reached)
        if until <= after:
            return False
        subscription.replay_cursor, subscription.replay_until = after, until
        return True

    async def list_behind(self, max_pending: int, max_pending_replay: int) -> Sequence[UUID]:
        """Active subscriptions that are not live or have a replay under way, and may get more deliveries."""
        query = select(Subscription.id).where(
            Subscription.status == SubscriptionStatus.ACTIVE,
            or_(
                and_(Subscription.live.is_(False), _has_capacity(max_pending)),
                and_(Subscription.replay_until.is_not(None), _has_capacity(max_pending_replay)),
            ),
        )
        return (await self._session.scalars(query.order_by(Subscription.id))).all()

    async def list_overloaded(self, pending: int) -> Sequence[UUID]:
        """Live subscriptions with at least `pending` deliveries pending in lanes that are not full."""
        query = select(Subscription.id).where(Subscription.live, _has_pending(Subscription.id, pending))
        return (await self._session.scalars(query.order_by(Subscription.id))).all()

    async def has_pending(self, subscription_id: UUID, pending: int) -> bool:
        """Whether it has at least `pending` deliveries pending in lanes that are not full."""
        return bool(await self._session.scalar(select(_has_pending(literal(subscription_id), pending))))

    async def get_sweep_cursor(self) -> int:
        return (await self._session.scalars(select(SweepCursor.position))).one()


def _for_change(subscription_id: UUID, *, skip_locked: bool = False) -> Select[Subscription]:
    query = select(Subscription).where(
        Subscription.id == subscription_id, Subscription.status != SubscriptionStatus.DELETED
    )
    return query.with_for_update(key_share=True, skip_locked=skip_locked).execution_options(populate_existing=True)


def _has_capacity(pending: int) -> ColumnElement[bool]:
    """Whether a subscription may get more deliveries, if need be after its long lanes are marked full."""
    long_lane = list_long_lanes(Subscription.id).limit(1).correlate(Subscription).scalar_subquery()
    return or_(not_(_has_pending(Subscription.id, pending)), long_lane.is_not(None))


def _has_pending(subscription_id: Column, pending: int) -> ColumnElement[bool]:
    last = (
        select(literal(1))
        .where(Delivery.subscription_id == subscription_id, Delivery.status == DeliveryStatus.PENDING)
        .where(~is_full(Delivery))
        .order_by(Delivery.position)
        .offset(pending - 1)
        .limit(1)
        .correlate_except(Delivery)
    )
    return last.scalar_subquery().is_not(None)


MAX_COUNTED = 10_001


class SubscriptionOverview(NamedTuple):
    """A subscription and its backlog. `pending` and `dead` are counted up to `MAX_COUNTED`."""

    subscription: Subscription
    now: datetime  # by the database's clock
    head: int  # the last position of the ledger
    swept: int  # up to where the sweep has got
    pending: int
    dead: int
    oldest_pending_at: datetime | None


class OverviewRepository:
    """Subscriptions as operators see them: deleted ones are left out."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, subscription_id: UUID) -> SubscriptionOverview:
        """One subscription with its backlog; raises `SubscriptionUnknown` when there is none."""
        query = _overviews().where(Subscription.id == subscription_id)
        row = (await self._session.execute(query)).one_or_none()
        if row is None:
            raise SubscriptionUnknown
        return SubscriptionOverview._make(row)

    async def list_oldest(self, *, status: str | None, limit: int, offset: int) -> Sequence[SubscriptionOverview]:
        query = _overviews().order_by(Subscription.created_at, Subscription.id).limit(limit).offset(offset)
        if status is not None:
            query = query.where(Subscription.status == status)
        return [SubscriptionOverview._make(row) for row in await self._session.execute(query)]

    async def count(self) -> int:
        query = select(func.count()).select_from(Subscription).where(Subscription.status != SubscriptionStatus.DELETED)
        return (await self._session.scalars(query)).one()

    async def check_known(self, subscription_id: UUID) -> None:
        """Raise `SubscriptionUnknown` unless there is one of this id."""
        query = select(Subscription.id).where(
            Subscription.id == subscription_id, Subscription.status != SubscriptionStatus.DELETED
        )
        if await self._session.scalar(query) is None:
            raise SubscriptionUnknown

    async def get_head(self) -> int:
        return (await self._session.scalars(select(head_position()))).one()

    async def find_last_before(self, at: datetime) -> int:
        """The position of the last event that was recorded before then; 0 when there is none."""
        return (await self._session.scalars(select(last_position(SyncEvent.created_at < at)))).one()


def _overviews() -> Select[Subscription, datetime, int, int, int, int, datetime | None]:
    return select(
        Subscription,
        database_now(),
        head_position(),
        select(SweepCursor.position).scalar_subquery(),
        count_deliveries(DeliveryStatus.PENDING, MAX_COUNTED),
        count_deliveries(DeliveryStatus.DEAD, MAX_COUNTED),
        oldest_pending_at(),
    ).where(Subscription.status != SubscriptionStatus.DELETED)


def oldest_pending_at() -> ColumnElement[datetime]:
    """Since when the pending delivery of the lowest position of the statement's subscription is pending."""
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
    oldest = select(Delivery.created_at).where(Delivery.subscription_id == Subscription.id, Delivery.position == first)
    return oldest.correlate(Subscription).scalar_subquery()


def count_deliveries(status: DeliveryStatus, limit: int, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """Number of deliveries of the statement's subscription with the status that meet `conditions`, at most `limit`."""
    rows = (
        select(literal(1).label("one"))
        .where(Delivery.subscription_id == Subscription.id, Delivery.status == status, *conditions)
        .order_by(Delivery.position)  # the order of an index, or PostgreSQL might read all deliveries
        .correlate(Subscription)
    )
    return count_up_to(limit, rows)
