"""Turns events into deliveries, set by set: no event is read into the process."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Insert, Select, Subquery, Table, bindparam, insert, literal, null, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import among, json_has, statement_now
from app.events.models import SyncEvent
from app.subscriptions.lane import due_at_first, lock_lanes, rank_in_lane
from app.subscriptions.models import Delivery, DeliveryStatus, FullLane, Subscription


class FanOutRepository:
    """Adds deliveries, at most one per event and subscription. Each call takes the lanes' lock."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_swept(self, positions: Sequence[int]) -> None:
        """For the events at `positions`, which the sweep processes now: to every subscription that is told by it."""
        await lock_lanes(self._session)
        if isinstance(positions, range) and positions:
            await self._session.execute(_ADD_SWEPT_RANGE, {"first": positions[0], "last": positions[-1]})
        else:
            await self._session.execute(_add_pending(among(SyncEvent.position, positions), _TOLD_BY_SWEEP))

    async def add_missed(self, subscription_id: UUID, *, after: int, through: int, file_id: UUID | None = None) -> None:
        """For the processed events after the position `after`, up to and with `through`: to one subscription.

        With `file_id` for those of this file alone.
        """
        await lock_lanes(self._session)
        of_file = () if file_id is None else (SyncEvent.file_id == file_id,)
        await self._session.execute(_add_pending(*_processed(subscription_id, after, through), *of_file))

    async def add_settled(self, subscription_id: UUID, *, after: int, through: int) -> None:
        """Add missing deliveries of a range as delivered: a replay then makes them pending with the existing ones."""
        await lock_lanes(self._session)
        new = _new_deliveries(*_processed(subscription_id, after, through))
        rows = select(
            new.c.subscription_id,
            new.c.position,
            new.c.file_id,
            literal(DeliveryStatus.DELIVERED.value),
            null(),
            statement_now(),
            statement_now(),
        )
        await self._session.execute(_insert(rows))


def _add_pending(*conditions: ColumnElement[bool]) -> Insert:
    """Of the events and subscriptions that meet the `conditions`, those after the subscription's start."""
    new = _new_deliveries(*conditions, SyncEvent.position > Subscription.start_position)
    return _insert(
        select(
            new.c.subscription_id,
            new.c.position,
            new.c.file_id,
            literal(DeliveryStatus.PENDING.value),
            due_at_first(new.c.ordering, new.c.rank, new.c.subscription_id, new.c.file_id),
            statement_now(),
            null(),
        )
    )


def _insert(rows: Select[Any]) -> Insert:
    columns = ["subscription_id", "position", "file_id", "status", "due_at", "created_at", "settled_at"]
    return insert(_DELIVERIES).from_select(columns, rows, include_defaults=False)


def _processed(subscription_id: UUID, after: int, through: int) -> tuple[ColumnElement[bool], ...]:
    return (
        Subscription.id == subscription_id,
        SyncEvent.position > after,
        SyncEvent.position <= through,
        SyncEvent.processed.is_(True),
    )


def _new_deliveries(*conditions: ColumnElement[bool]) -> Subquery:
    """The pairs of events and matching subscriptions that have no delivery yet.

    Not those of a full lane after its cursor either.
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
    return (
        select(
            Subscription.id.label("subscription_id"),
            Subscription.ordering,
            SyncEvent.position,
            SyncEvent.file_id,
            rank_in_lane(Subscription.id, SyncEvent.file_id, SyncEvent.position).label("rank"),
        )
        .select_from(SyncEvent)
        .join(Subscription, json_has(Subscription.event_type_list, SyncEvent.event_type))
        .where(*conditions, delivery.is_(None), full_lane.is_(None))
        .subquery()
    )


_DELIVERIES = cast("Table", Delivery.__table__)
_TOLD_BY_SWEEP = or_(Subscription.live, SyncEvent.position <= Subscription.cursor)
# Built once: to build it takes longer than to run it, and every batch of the sweep does.
_ADD_SWEPT_RANGE = _add_pending(SyncEvent.position.between(bindparam("first"), bindparam("last")), _TOLD_BY_SWEEP)


class FanOutHandler:
    """The sweep's second handler: turns events into deliveries, in the transaction that processes them."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Add a delivery of each event at `positions` to each live subscription that matches it."""
        await FanOutRepository(session).add_swept(positions)
