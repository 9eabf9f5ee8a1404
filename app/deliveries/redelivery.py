"""Has deliveries that are settled sent again, by an operator's wish."""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from app.database.engine import Database
from app.deliveries.history_repository import HistoryRepository, StoredDelivery
from app.deliveries.repository import MAX_AT_ONCE, DeliveryRepository
from app.errors import NotFound
from app.subscriptions.errors import DeliveryPending
from app.subscriptions.overview_repository import OverviewRepository

MAX_CHUNKS = 50


class Redelivered(NamedTuple):
    """How many dead deliveries are pending again, and whether there are more."""

    redelivered: int
    has_more: bool


class Redelivery:
    """Makes deliveries pending again. `on_added` is called after each commit."""

    def __init__(self, database: Database, on_added: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._on_added = on_added

    async def redeliver(self, delivery_id: int) -> StoredDelivery:
        """Send one again, whether it was delivered or is dead.

        Raises:
            NotFound: 404.
            DeliveryPending: 409.
        """
        async with self._database.transaction() as session:
            changed = await DeliveryRepository(session).mark_pending([delivery_id])
            delivery = await HistoryRepository(session).get(delivery_id)
            if not changed:
                raise DeliveryPending
        self._on_added()
        return delivery

    async def redeliver_dead(self, subscription_id: UUID) -> Redelivered:
        """Send all dead ones of a subscription again, a chunk in each transaction, at most 50,000.

        Raises:
            NotFound: 404.
        """
        total = 0
        for _ in range(MAX_CHUNKS):
            async with self._database.transaction() as session:
                if not await OverviewRepository(session).is_known(subscription_id):
                    raise NotFound("There is no subscription with this id.")
                count = await DeliveryRepository(session).mark_dead_pending(subscription_id)
            self._on_added()
            total += count
            if count < MAX_AT_ONCE:
                return Redelivered(total, has_more=False)
        return Redelivered(total, has_more=True)
