"""Leases on deliveries: taken, kept and given back."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, UpdateBase, Uuid, exists, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from app.database.engine import Database
from app.database.sql import bound_rows, read_now, write
from app.database.types import among, among_ids, database_now, statement_now
from app.events.repository import EventRepository, EventRow
from app.subscriptions.models import Delivery, Subscription, SubscriptionStatus

LeaseKey = tuple[int, int]  # the delivery's id and the fence of its claim
FENCE_LEAP = 2**32  # added when a delivery is made pending again; claims alone never reach it

_LIMIT: dict[str, TypeEngine[Any]] = {"subscription_id": Uuid(), "limit": Integer()}


class LeasedDelivery(NamedTuple):
    """A delivery under lease. `attempts` and `failures` are those before this one."""

    id: int
    fence: int
    attempts: int
    failures: int
    event: EventRow

    @property
    def key(self) -> LeaseKey:
        """The key of this lease, unique among all leases."""
        return self.id, self.fence

    @property
    def is_first(self) -> bool:
        """Whether it was never settled before: it is neither redelivered nor replayed."""
        return self.fence < FENCE_LEAP


class ClaimRepository:
    """The statements of a claim, by the database's clock; `process` is the process that claims.

    A claim locks the rows of its subscriptions first, and never waits for a lock.
    """

    def __init__(self, session: AsyncSession, process: str) -> None:
        self._session = session
        self._process = process

    async def list_due(self) -> list[tuple[UUID, int]]:
        """Subscriptions with due deliveries that are not slowed down, oldest first, and their `max_concurrency`."""
        due = exists().where(Delivery.subscription_id == Subscription.id, Delivery.due_at <= statement_now())
        query = select(Subscription.id, Subscription.max_concurrency).where(
            Subscription.status == SubscriptionStatus.ACTIVE,
            or_(Subscription.slow_until.is_(None), Subscription.slow_until <= statement_now()),
            due,
        )
        return [(id_, number) for id_, number in await self._session.execute(query.order_by(Subscription.id))]

    async def list_recipients(self, subscription_ids: Collection[UUID]) -> list[tuple[Subscription, datetime]]:
        """The active subscriptions, locked, and the database's time; without the ones that another claim has locked."""
        query = (
            select(Subscription, database_now())
            .where(among_ids(Subscription.id, subscription_ids), Subscription.status == SubscriptionStatus.ACTIVE)
            .with_for_update(skip_locked=True, key_share=True, of=Subscription)
        )
        return [(subscription, now) for subscription, now in await self._session.execute(query)]

    async def count_claimed(self, subscription_ids: Collection[UUID]) -> Counter[UUID]:
        """The number of deliveries of each subscription under a lease that has not ended, by any process."""
        query = (
            select(Delivery.subscription_id, func.count())
            .where(among_ids(Delivery.subscription_id, subscription_ids))
            .where(Delivery.claimed_by.is_not(None), Delivery.due_at > statement_now())
            .group_by(Delivery.subscription_id)
        )
        return Counter({row[0]: row[1] for row in await self._session.execute(query)})

    async def claim_due(
        self, limits: Mapping[UUID, int], now: datetime, lease: timedelta, through: int | None = None
    ) -> defaultdict[UUID, list[LeasedDelivery]]:
        """Lease due deliveries of each subscription up to its limit, longest due first; returned in ledger order.

        None of an event after the position `through`, if there is one.
        """
        rows = [
            row
            for due in self._due(limits, now, through)
            for row in await self._session.execute(self._lease(due, now + lease))
        ]
        positions = sorted({row.position for row in rows})
        found = await EventRepository(self._session).list_at(positions) if positions else ()
        events = {event.position: event for event in found}
        claimed: defaultdict[UUID, list[LeasedDelivery]] = defaultdict(list)
        for row in sorted(rows, key=attrgetter("position")):
            delivery = LeasedDelivery(row.id, row.fence, row.attempts, row.failures, events[row.position])
            claimed[row.subscription_id].append(delivery)
        return claimed

    def _due(self, limits: Mapping[UUID, int], now: datetime, through: int | None) -> Iterator[Select[Any]]:
        """The deliveries to claim, in one statement; on SQLite, which lacks LATERAL, in one for each subscription."""
        dialect = self._session.get_bind().dialect
        if dialect.name == "postgresql":
            bound = bound_rows(dialect, _LIMIT, list(limits.items()))
            first = _first_due(bound.c.subscription_id, bound.c.limit, now, through).lateral()
            yield select(first.c.id).select_from(bound.join(first, true()))
        else:
            for subscription_id, limit in limits.items():
                yield _first_due(subscription_id, limit, now, through)

    def _lease(self, due: Select[Any], until: datetime) -> UpdateBase:
        ids = due.cte("due")
        return (
            update(Delivery)
            .where(Delivery.id.in_(select(ids.c.id)))
            .values(due_at=until, claimed_by=self._process, fence=Delivery.fence + 1)
            .returning(
                Delivery.subscription_id,
                Delivery.position,
                Delivery.id,
                Delivery.fence,
                Delivery.attempts,
                Delivery.failures,
            )
            .execution_options(synchronize_session=False)
        )

    async def extend(self, delivery_ids: Sequence[int], lease: timedelta) -> list[LeaseKey]:
        """Extend these leases from now on; returns the ones that had not ended.

        Deliveries that a settlement is writing are skipped, so that the two never wait for each other.
        """
        now = await read_now(self._session)
        running = among(Delivery.id, delivery_ids), Delivery.claimed_by == self._process, Delivery.due_at > now
        held = select(Delivery.id).where(*running).order_by(Delivery.id)
        ids = held.with_for_update(skip_locked=True, key_share=True).cte("held")
        statement = (
            update(Delivery)
            .where(Delivery.id.in_(select(ids.c.id)))
            .values(due_at=now + lease)
            .returning(Delivery.id, Delivery.fence)
            .execution_options(synchronize_session=False)
        )
        return [(id_, fence) for id_, fence in await self._session.execute(statement)]

    async def release(self) -> None:
        """Make everything due now that this process has claimed and not settled.

        Waits for a last heartbeat, which would keep the leases otherwise, and locks rows in the common order.
        """
        held = select(Delivery.id).where(Delivery.claimed_by == self._process).order_by(Delivery.id)
        ids = held.with_for_update(key_share=True).cte("held")
        statement = (
            update(Delivery)
            .where(Delivery.id.in_(select(ids.c.id)))
            .values(due_at=database_now(), wait_seconds=0, claimed_by=None)
        )
        await write(self._session, statement)


def _first_due(
    subscription_id: ColumnElement[UUID] | UUID, limit: ColumnElement[int] | int, now: datetime, through: int | None
) -> Select[Any]:
    durable = () if through is None else (Delivery.position <= through,)
    return (
        select(Delivery.id)
        .where(Delivery.subscription_id == subscription_id, Delivery.due_at <= now, *durable)
        .order_by(Delivery.due_at, Delivery.position)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


class LeaseKeeper:
    """Extends leases before they end. Deadlines are on the monotonic clock, early rather than late."""

    def __init__(self, database: Database, process: str, lease: timedelta) -> None:
        self._database = database
        self._process = process
        self._deadlines: dict[LeaseKey, float] = {}
        self.lease = lease

    def __len__(self) -> int:
        return len(self._deadlines)

    def deadline(self) -> float:
        """When a lease ends that is claimed from now on."""
        return time.monotonic() + self.lease.total_seconds()

    def add(self, keys: Iterable[LeaseKey], deadline: float) -> None:
        self._deadlines |= dict.fromkeys(keys, deadline)

    def holds(self, key: LeaseKey) -> bool:
        return time.monotonic() < self._deadlines[key]

    def discard(self, key: LeaseKey) -> None:
        self._deadlines.pop(key, None)

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Extend every lease that has not ended.

        Raises:
            DatabaseUnavailable: the database cannot serve; the leases keep their deadlines.
        """
        running = [key[0] for key in self._deadlines if self.holds(key)]
        if not running:
            return
        deadline = self.deadline()
        async with self._database.transaction(wait_for_standbys=False) as session:
            extended = await ClaimRepository(session, self._process).extend(running, self.lease)
        self._deadlines |= {key: deadline for key in extended if key in self._deadlines}
