"""Leases on deliveries: taken, kept and given back."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.types import among, database_now, statement_now
from app.events.repository import EventRepository, EventRow
from app.webhooks.models import Delivery, Subscription, SubscriptionStatus

LeaseKey = tuple[int, int]  # the delivery's id and the fence of its claim

_RECIPIENT = (
    Subscription.id,
    Subscription.url,
    Subscription.ordering,
    Subscription.max_concurrency,
    Subscription.rate_limit_per_second,
    Subscription.headers,
    Subscription.secret,
    Subscription.old_secret,
    Subscription.old_secret_until,
    Subscription.slow_until,
    Subscription.slow_count,
    Subscription.next_send_at,
)


class Recipient(NamedTuple):
    """What a subscription says of how it is sent to, and `now`, the database's clock when that was read."""

    id: UUID
    url: str
    ordering: str
    max_concurrency: int
    rate_limit_per_second: float | None
    headers: bytes | None
    secret: bytes
    old_secret: bytes | None
    old_secret_until: datetime | None
    slow_until: datetime | None
    slow_count: int
    next_send_at: datetime | None
    now: datetime


class DueSubscription(NamedTuple):
    """A subscription that something may be sent to."""

    id: UUID
    max_concurrency: int


class ClaimedDelivery(NamedTuple):
    """A delivery under lease. `attempts` and `failures` are those before this one."""

    id: int
    fence: int
    attempts: int
    failures: int
    event: EventRow

    @property
    def key(self) -> LeaseKey:
        """What tells this lease from every other one."""
        return self.id, self.fence


class ClaimRepository:
    """The statements of a claim, by the database's clock; `process` names who claims.

    A claim locks the row of its subscription first, and waits for nobody.
    """

    def __init__(self, session: AsyncSession, process: str) -> None:
        self._session = session
        self._process = process

    async def list_due(self) -> list[DueSubscription]:
        """Subscriptions that have something due and are not told to wait, in the order in which they were made."""
        due = exists().where(Delivery.subscription_id == Subscription.id, Delivery.due_at <= statement_now())
        query = select(Subscription.id, Subscription.max_concurrency).where(
            Subscription.status == SubscriptionStatus.ACTIVE,
            or_(Subscription.slow_until.is_(None), Subscription.slow_until <= statement_now()),
            due,
        )
        return [DueSubscription(*row) for row in await self._session.execute(query.order_by(Subscription.id))]

    async def find_recipient(self, subscription_id: UUID) -> Recipient | None:
        """Lock an active subscription against other claims; None when it is not active or another one has it."""
        query = (
            select(*_RECIPIENT, database_now())
            .where(Subscription.id == subscription_id, Subscription.status == SubscriptionStatus.ACTIVE)
            .with_for_update(skip_locked=True, key_share=True, of=Subscription)
        )
        row = (await self._session.execute(query)).one_or_none()
        return None if row is None else Recipient._make(row)

    async def count_claimed(self, recipient: Recipient) -> int:
        """How many deliveries to it are under a lease that has not ended, by any process."""
        query = select(func.count()).where(
            Delivery.subscription_id == recipient.id, Delivery.claimed_by.is_not(None), Delivery.due_at > recipient.now
        )
        return (await self._session.scalars(query)).one()

    async def claim_due(self, recipient: Recipient, *, limit: int, lease: timedelta) -> list[ClaimedDelivery]:
        """Lease at most `limit` of its due deliveries, the longest due first; they are in the order of the ledger."""
        due = (
            select(Delivery.id)
            .where(Delivery.subscription_id == recipient.id, Delivery.due_at <= recipient.now)
            .order_by(Delivery.due_at, Delivery.position)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        statement = (
            update(Delivery)
            .where(Delivery.id.in_(select(due.c.id)))
            .values(due_at=recipient.now + lease, claimed_by=self._process, fence=Delivery.fence + 1)
            .returning(Delivery.position, Delivery.id, Delivery.fence, Delivery.attempts, Delivery.failures)
            .execution_options(synchronize_session=False)
        )
        claimed = {row.position: row for row in await self._session.execute(statement)}
        events = await EventRepository(self._session).list_at(sorted(claimed))
        rows = ((claimed[event.position], event) for event in events)
        return [ClaimedDelivery(row.id, row.fence, row.attempts, row.failures, event) for row, event in rows]

    async def mark_next_send(self, recipient: Recipient, at: datetime) -> None:
        """Note the theoretical arrival time of the next delivery under its rate limit."""
        statement = update(Subscription).where(Subscription.id == recipient.id).values(next_send_at=at)
        await self._session.execute(statement.execution_options(synchronize_session=False))

    async def extend(self, delivery_ids: Sequence[int], lease: timedelta) -> list[LeaseKey]:
        """Lease these for longer, from now on; returns those whose lease had not ended yet."""
        now = (await self._session.scalars(select(database_now()))).one()
        statement = (
            update(Delivery)
            .where(among(Delivery.id, delivery_ids), Delivery.claimed_by == self._process, Delivery.due_at > now)
            .values(due_at=now + lease)
            .returning(Delivery.id, Delivery.fence)
            .execution_options(synchronize_session=False)
        )
        return [(id_, fence) for id_, fence in await self._session.execute(statement)]

    async def release(self) -> None:
        """Make due at once whatever this process has claimed and not settled."""
        statement = (
            update(Delivery)
            .where(Delivery.claimed_by == self._process)
            .values(due_at=database_now(), claimed_by=None)
            .execution_options(synchronize_session=False)
        )
        await self._session.execute(statement)
