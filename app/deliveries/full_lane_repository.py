"""Keeps files that do not get through from filling the table and from holding up the others of their subscription."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.deliveries.fan_out import FanOutRepository
from app.events.models import SyncEvent
from app.subscriptions.lane import LANE_ROWS, is_pending, list_long_lanes
from app.subscriptions.models import Delivery, FullLane, Subscription, SubscriptionStatus

MAX_LANES = 100  # marked in one transaction


class FullLaneRepository:
    """A full lane has a cursor of its own: its file's events after it are in the ledger alone.

    What the methods change they do on what `SubscriptionRepository.get_for_change` gave, alone with the lanes.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def mark_full(self, subscription: Subscription) -> int:
        """Mark its long lanes, and take back what waits in them beyond `LANE_ROWS`; returns how many they are."""
        files = (await self._session.scalars(list_long_lanes(subscription.id).limit(MAX_LANES))).all()
        for file_id in files:
            lane = Delivery.subscription_id == subscription.id, Delivery.file_id == file_id, is_pending()
            nth = select(Delivery.position).where(*lane).order_by(Delivery.position).offset(LANE_ROWS - 1).limit(1)
            cursor = (await self._session.scalars(nth)).one()
            self._session.add(FullLane(subscription_id=subscription.id, file_id=file_id, cursor=cursor))
            # What was claimed once has a history, and before the start there are only replays.
            untouched = Delivery.due_at.is_(None), Delivery.fence == 0, Delivery.position > subscription.start_position
            statement = delete(Delivery).where(*lane, *untouched, Delivery.position > cursor)
            await self._session.execute(statement.execution_options(synchronize_session=False))
        await self._session.flush()
        return len(files)

    async def list_drained(self) -> Sequence[FullLane]:
        """Full lanes of active subscriptions that have room again."""
        nth = (
            select(literal(1))
            .where(Delivery.subscription_id == FullLane.subscription_id, Delivery.file_id == FullLane.file_id)
            .where(is_pending())
            .order_by(Delivery.position)
            .offset(LANE_ROWS // 2)
            .limit(1)
            .correlate(FullLane)
            .scalar_subquery()
        )
        query = select(FullLane).join(Subscription, Subscription.id == FullLane.subscription_id)
        query = query.where(Subscription.status == SubscriptionStatus.ACTIVE, nth.is_(None))
        return (await self._session.scalars(query)).all()

    async def refill(self, subscription: Subscription, file_id: UUID, reached: int) -> None:
        """Write the lane's next deliveries up to the position `reached`; it is full no longer when these are all."""
        lane = await self._session.get(FullLane, (subscription.id, file_id))
        if lane is None:
            return
        after = lane.cursor
        events = select(SyncEvent.position).where(SyncEvent.file_id == file_id, SyncEvent.position > after)
        nth = events.where(SyncEvent.position <= reached).order_by(SyncEvent.position).offset(LANE_ROWS - 1).limit(1)
        last = await self._session.scalar(nth)
        if last is None:
            await self._session.delete(lane)
        else:
            lane.cursor = last
        await self._session.flush()
        through = reached if last is None else last
        await FanOutRepository(self._session).add_missed(subscription.id, after=after, through=through, file_id=file_id)
