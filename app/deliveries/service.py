"""What operators do with deliveries: redeliver settled ones, and test a subscription with a ping."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from app.database.engine import Database
from app.deliveries.history_repository import HistoryRepository, StoredDelivery
from app.deliveries.message import MessageFactory
from app.deliveries.repository import MAX_AT_ONCE, DeliveryRepository
from app.errors import Conflict, NotFound
from app.outbound.client import OutboundClient
from app.outbound.response import AttemptResponse
from app.subscriptions.overview import OverviewRepository

MAX_CHUNKS = 50


class DeliveryPending(Conflict):
    """409."""

    code, detail = "delivery-pending", "The delivery is pending, so there is nothing to redeliver."


class Redelivered(NamedTuple):
    """How many dead deliveries are pending again, and whether there are more."""

    redelivered: int
    has_more: bool


class DeliveryService:
    """Calls `on_added` after each commit that made deliveries pending."""

    def __init__(
        self,
        database: Database,
        messages: MessageFactory,
        client: OutboundClient,
        *,
        on_added: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._messages = messages
        self._client = client
        self._on_added = on_added
        self._clock = clock

    async def redeliver(self, delivery_id: int) -> StoredDelivery:
        """Make a delivered or dead delivery pending again.

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
        """Make all dead deliveries of a subscription pending again, at most 50,000, one transaction per 1000.

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

    async def ping(self, subscription_id: UUID) -> AttemptResponse:
        """Send a ping at once, whatever the subscription's status, with no transaction open; it changes nothing.

        Raises:
            NotFound: 404.
            NoEncryptionKey, EncryptionKeyMissing: 503.
        """
        async with self._database.read() as session:
            overview = await OverviewRepository(session).get(subscription_id)
        stored = overview.subscription
        message = self._messages.signer(stored, overview.now).ping(uuid7(), stored.id, self._clock())
        return await self._client.send(stored.url, message.headers, message.body)
