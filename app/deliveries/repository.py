"""Makes deliveries pending: new ones of events, and settled ones again. No event is read into the process."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Insert,
    Table,
    bindparam,
    exists,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.sql import write
from app.database.types import among, json_has, statement_now
from app.deliveries.claim import FENCE_LEAP
from app.errors import OtherCount
from app.events.models import SyncEvent
from app.subscriptions.lane import due_at_first, lock_lanes
from app.subscriptions.models import Delivery, DeliveryStatus, FullLane, Subscription

REDELIVERED_AT_ONCE = 1000


class DeliveryRepository:
    """Adds deliveries, at most one per event and subscription, and makes settled ones pending again.

    Each call takes the lanes' lock, until the transaction ends. A settled delivery that is made pending gets all its
    attempts again, in the order of its file. It counts as created now. Its fence rises by `FENCE_LEAP`, which
    distinguishes it from a first delivery.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_swept(self, positions: Sequence[int]) -> None:
        """For the events at `positions`, which the sweep processes now: to every live subscription."""
        await lock_lanes(self._session)
        if isinstance(positions, range) and positions:
            await self._session.execute(_ADD_SWEPT_RANGE, {"first": positions[0], "last": positions[-1]})
        else:
            await self._session.execute(_add_pending(among(SyncEvent.position, positions), _WRITTEN_BY_SWEEP))

    async def add_missed(self, subscription_id: UUID, *, after: int, through: int, file_id: UUID | None = None) -> None:
        """For the processed events after the position `after`, up to and with `through`: to one subscription.

        With `file_id`: for the events of this file alone.
        """
        await lock_lanes(self._session)
        of_file = () if file_id is None else (SyncEvent.file_id == file_id,)
        await self._session.execute(_add_pending(*_processed(subscription_id, after, through), *of_file))

    async def add_settled(self, subscription_id: UUID, *, after: int, through: int) -> None:
        """Add missing deliveries of a range as delivered: a replay then makes them pending with the existing ones."""
        await lock_lanes(self._session)
        processed = _processed(subscription_id, after, through)
        delivered = literal(DeliveryStatus.DELIVERED.value), null(), statement_now()
        await self._session.execute(_add_missing(*processed, state=delivered))

    async def mark_pending(self, delivery_ids: Sequence[int]) -> int:
        """Deliver these again, whether they were delivered or are dead; returns how many were not pending."""
        return await self._mark_pending(among(Delivery.id, delivery_ids))

    async def mark_events_pending(self, positions: Sequence[int]) -> set[int]:
        """Deliver these events again wherever they have deliveries; returns the positions that have any."""
        of_events = among(Delivery.position, positions)
        await self._mark_pending(of_events)
        return set((await self._session.scalars(select(Delivery.position).where(of_events).distinct())).all())

    async def mark_dead_pending(self, subscription_id: UUID) -> int:
        """Retry the 1000 oldest dead deliveries of the subscription and return their number."""
        return await self.mark_pending(await self._list_dead(subscription_id, limit=REDELIVERED_AT_ONCE))

    async def mark_matching_pending(
        self,
        subscription_id: UUID,
        *,
        delivery_ids: Sequence[int] | None = None,
        file_id: UUID | None = None,
        up_to_position: int,
        expected: int,
    ) -> None:
        """Retry the `expected` dead deliveries at or below the position, of these ids and this file; None means any.

        Raises:
            OtherCount: 409; nothing is changed.
        """
        conditions = [Delivery.position <= up_to_position]
        if delivery_ids is not None:
            conditions.append(among(Delivery.id, delivery_ids))
        if file_id is not None:
            conditions.append(Delivery.file_id == file_id)
        found = await self._list_dead(subscription_id, *conditions, limit=expected + 1)
        if len(found) != expected:
            count = f"more than {expected}" if len(found) > expected else len(found)
            raise OtherCount(f"{count} dead deliveries at or below the position")
        await self.mark_pending(found)

    async def _list_dead(self, subscription_id: UUID, *conditions: ColumnElement[bool], limit: int) -> Sequence[int]:
        await lock_lanes(self._session)
        dead = Delivery.subscription_id == subscription_id, Delivery.status == DeliveryStatus.DEAD
        query = select(Delivery.id).where(*dead, *conditions).order_by(Delivery.position).limit(limit)
        return (await self._session.scalars(query)).all()

    async def mark_range_pending(self, subscription_id: UUID, *, after: int, through: int) -> None:
        """Deliver matching events again, after the position `after`, up to and including `through`."""
        wanted = exists().where(
            SyncEvent.position == Delivery.position, json_has(Subscription.event_type_list, SyncEvent.event_type)
        )
        await self._mark_pending(
            Delivery.subscription_id == subscription_id,
            Delivery.position > after,
            Delivery.position <= through,
            wanted,
        )

    async def _mark_pending(self, *conditions: ColumnElement[bool]) -> int:
        await lock_lanes(self._session)
        due_at = due_at_first(Subscription.ordering, Delivery.subscription_id, Delivery.file_id, Delivery.position)
        again = (
            select(Delivery.id, due_at.label("due_at"))
            .join(Subscription, Subscription.id == Delivery.subscription_id)
            .where(Delivery.status != DeliveryStatus.PENDING, *conditions)
            .subquery()
        )
        statement = (
            update(Delivery)
            .where(Delivery.id == again.c.id)
            .values(
                status=DeliveryStatus.PENDING,
                due_at=again.c.due_at,
                wait_seconds=None,
                fence=Delivery.fence + FENCE_LEAP,
                attempts=0,
                failures=0,
                created_at=statement_now(),
                settled_at=None,
            )
        )
        return await write(self._session, statement)


def _add_pending(*conditions: ColumnElement[bool]) -> Insert:
    """Of the events and subscriptions that meet the `conditions`, those after the subscription's start."""
    due_at = due_at_first(Subscription.ordering, Subscription.id, SyncEvent.file_id, SyncEvent.position)
    pending = literal(DeliveryStatus.PENDING.value), due_at, null()
    return _add_missing(*conditions, SyncEvent.position > Subscription.start_position, state=pending)


def _processed(subscription_id: UUID, after: int, through: int) -> tuple[ColumnElement[bool], ...]:
    return (
        Subscription.id == subscription_id,
        SyncEvent.position > after,
        SyncEvent.position <= through,
        SyncEvent.processed.is_(True),
    )


def _add_missing(*conditions: ColumnElement[bool], state: tuple[ColumnElement[Any], ...]) -> Insert:
    """Deliveries of the events and subscriptions that match and have none, but none after the cursor of a full lane.

    `state`: their `status`, `due_at` and `settled_at`.
    """
    known = aliased(Delivery)
    # Not EXISTS: that may be hashed, which would read every delivery there is.
    delivery = (
        select(literal(1))
        .where(known.subscription_id == Subscription.id, known.position == SyncEvent.position)
        .limit(1)
        .correlate(Subscription, SyncEvent)
        .scalar_subquery()
    )
    full_lane = (
        select(literal(1))
        .where(FullLane.subscription_id == Subscription.id, FullLane.file_id == SyncEvent.file_id)
        .where(FullLane.cursor < SyncEvent.position)
        .correlate(Subscription, SyncEvent)
        .scalar_subquery()
    )
    rows = (
        select(Subscription.id, SyncEvent.position, SyncEvent.file_id, statement_now(), *state)
        .select_from(SyncEvent)
        .join(Subscription, json_has(Subscription.event_type_list, SyncEvent.event_type))
        .where(*conditions, delivery.is_(None), full_lane.is_(None))
    )
    columns = ["subscription_id", "position", "file_id", "created_at", "status", "due_at", "settled_at"]
    return insert(_DELIVERIES).from_select(columns, rows, include_defaults=False)


_DELIVERIES = cast("Table", Delivery.__table__)
_WRITTEN_BY_SWEEP = or_(Subscription.live, SyncEvent.position <= Subscription.cursor)
# Built once: to build it takes longer than to run it, and every batch of the sweep does.
_ADD_SWEPT_RANGE = _add_pending(SyncEvent.position.between(bindparam("first"), bindparam("last")), _WRITTEN_BY_SWEEP)


class FanOutHandler:
    """The sweep's second handler: turns events into deliveries, in the transaction that processes them."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        await DeliveryRepository(session).add_swept(positions)
