"""The catch-up: turns the ledger into deliveries for subscriptions that are not live, and for full lanes."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

import structlog
from sqlalchemy import delete, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.concurrency.shutdown import wait_for_event
from app.database.engine import BackgroundJob, Database, OtherReplicaWorks, job_transaction
from app.database.sql import write
from app.deliveries.repository import DeliveryRepository
from app.events.models import SyncEvent
from app.subscriptions.lane import LANE_ROWS, is_pending, list_long_lanes
from app.subscriptions.models import Delivery, FullLane, Subscription, SubscriptionStatus
from app.subscriptions.repository import SubscriptionRepository

log = structlog.get_logger(__name__)

CHUNK_EVENTS = 1000  # of the ledger, looked at in one transaction
MAX_PENDING = 10_000  # deliveries of one subscription, but for its full lanes, beyond which it gets no more of them
MAX_PENDING_REPLAY = 1000  # of a replay, so that new events do not wait long behind it
MAX_PENDING_LIVE = 100_000  # of a live subscription, beyond which it is live no longer
LOOK_SECONDS = 30.0  # between two looks for those
MAX_YIELD_SECONDS = 0.05  # between two chunks
MAX_LANES = 100  # marked in one transaction


class FullLaneRepository:
    """A full lane has a cursor of its own: its file's events after it are only in the ledger.

    The methods change subscriptions from `SubscriptionRepository.find_for_change`, under the lanes' lock.
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
            # A delivery that was claimed has a history, and before the start there are only replays.
            untouched = Delivery.due_at.is_(None), Delivery.fence == 0, Delivery.position > subscription.start_position
            await write(self._session, delete(Delivery).where(*lane, *untouched, Delivery.position > cursor))
        await self._session.flush()
        return len(files)

    async def list_drained(self) -> Sequence[FullLane]:
        """Full lanes of active subscriptions with few enough pending deliveries to write more."""
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
        await DeliveryRepository(self._session).add_missed(
            subscription.id, after=after, through=through, file_id=file_id
        )


class CatchUp:
    """Replays, and takes subscriptions from their cursor to the sweep's position, where they become live.

    Replicas need no leader: each chunk is one transaction under the lanes' lock, and begins where the last one ended.
    Files that fail wait in the ledger, so that they never delay the others (`FullLaneRepository`). A replica that
    finds another one at work leaves the rest of its pass to that one, so that no two wait for the lanes. A
    subscription that another transaction has locked is left for the next pass.
    """

    def __init__(
        self,
        database: Database,
        *,
        on_added: Callable[[], None] = lambda: None,
        chunk_events: int = CHUNK_EVENTS,
        max_pending: int = MAX_PENDING,
        max_pending_replay: int = MAX_PENDING_REPLAY,
        max_pending_live: int = MAX_PENDING_LIVE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._on_added = on_added
        self._chunk_events = chunk_events
        self._max_pending = max_pending
        self._max_pending_replay = max_pending_replay
        self._max_pending_live = max_pending_live
        self._clock = clock
        self._look_again_at = -math.inf

    async def run_once(self, stopping: asyncio.Event | None = None) -> None:
        """Take every subscription that is behind as far as it can go now, one chunk of each in turn.

        Raises:
            DatabaseUnavailable: the database cannot serve; the current chunk is rolled back.
        """
        async with self._database.read() as session:
            repository = SubscriptionRepository(session)
            drained = await FullLaneRepository(session).list_drained()
            behind = await repository.list_behind(self._max_pending, self._max_pending_replay)
            overloaded = await repository.list_overloaded(self._max_pending_live) if self._is_time_to_look() else ()
        for subscription_id in overloaded:
            await self._release(subscription_id)
        stopping = stopping or asyncio.Event()
        with suppress(OtherReplicaWorks):
            for lane in drained:
                await self._refill(lane.subscription_id, lane.file_id)
            while behind:
                behind = [one for one in behind if await self._advance_and_yield(one, stopping)]

    async def _advance_and_yield(self, subscription_id: UUID, stopping: asyncio.Event) -> bool:
        """Process one chunk, then leave the lanes to others for about as long; false also when `stopping`."""
        if stopping.is_set():
            return False
        started = self._clock()
        goes_on = await self._advance(subscription_id)
        await wait_for_event(stopping, min(self._clock() - started, MAX_YIELD_SECONDS))
        return goes_on

    async def _advance(self, subscription_id: UUID) -> bool:
        """Process one chunk; returns whether more can be done now."""
        async with job_transaction(self._database, BackgroundJob.CATCH_UP) as session:
            subscription = await SubscriptionRepository(session).find_for_change(subscription_id)
            if subscription is None or subscription.status != SubscriptionStatus.ACTIVE:
                return False
            goes_on = await self._follow(session, subscription), await self._replay(session, subscription)
        self._on_added()
        return any(goes_on)

    async def _follow(self, session: AsyncSession, subscription: Subscription) -> bool:
        """Write the deliveries of one chunk after the cursor; returns whether more can be done now."""
        if subscription.live or not await _ensure_capacity(session, subscription, self._max_pending):
            return False
        swept = await SubscriptionRepository(session).get_sweep_cursor()
        through = min(subscription.cursor + self._chunk_events, swept)
        if through > subscription.cursor:
            await DeliveryRepository(session).add_missed(subscription.id, after=subscription.cursor, through=through)
            subscription.cursor = through
        subscription.live = subscription.cursor >= swept
        return not subscription.live

    async def _replay(self, session: AsyncSession, subscription: Subscription) -> bool:
        """Make one chunk of the replay pending; returns whether more can be done now."""
        after, until = subscription.replay_cursor, subscription.replay_until
        if after is None or until is None:
            return False
        if not await _ensure_capacity(session, subscription, self._max_pending_replay):
            return False
        through = min(after + self._chunk_events, until)
        await DeliveryRepository(session).add_settled(subscription.id, after=after, through=through)
        await DeliveryRepository(session).mark_range_pending(subscription.id, after=after, through=through)
        is_done = through == until
        subscription.replay_cursor, subscription.replay_until = (None, None) if is_done else (through, until)
        return not is_done

    async def _refill(self, subscription_id: UUID, file_id: UUID) -> None:
        async with job_transaction(self._database, BackgroundJob.CATCH_UP) as session:
            repository = SubscriptionRepository(session)
            subscription = await repository.find_for_change(subscription_id)
            if subscription is None:
                return
            reached = await repository.get_sweep_cursor() if subscription.live else subscription.cursor
            await FullLaneRepository(session).refill(subscription, file_id, reached)
        self._on_added()

    def _is_time_to_look(self) -> bool:
        now = self._clock()
        if now < self._look_again_at:
            return False
        self._look_again_at = now + LOOK_SECONDS
        return True

    async def _release(self, subscription_id: UUID) -> None:
        """Make it live no longer: from here on its backlog is a position in the ledger."""
        async with self._database.transaction() as session:
            repository = SubscriptionRepository(session)
            subscription = await repository.find_for_change(subscription_id)
            if subscription is None or await _ensure_capacity(session, subscription, self._max_pending_live):
                return
            await repository.mark_behind(subscription)
        log.warning("subscription has too many pending deliveries", subscription_id=str(subscription_id))


async def _ensure_capacity(session: AsyncSession, subscription: Subscription, max_pending: int) -> bool:
    """Whether fewer than `max_pending` deliveries are pending, if need be after marking its long lanes full."""
    repository = SubscriptionRepository(session)
    if not await repository.has_pending(subscription.id, max_pending):
        return True
    marked = await FullLaneRepository(session).mark_full(subscription)
    return marked > 0 and not await repository.has_pending(subscription.id, max_pending)
