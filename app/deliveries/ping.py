"""Tries a subscription out."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from app.database.engine import Database
from app.deliveries.cloud_event import ping_body
from app.deliveries.outbox import Outbox
from app.deliveries.outcome import judge
from app.outbound.response import Answer
from app.subscriptions.models import Outcome
from app.subscriptions.overview_repository import OverviewRepository


class Pong(NamedTuple):
    """What came of a ping."""

    answer: Answer
    outcome: Outcome


class Pinger:
    """Sends messages that tell of nothing, like any other: signed, with the subscription's headers, within bounds."""

    def __init__(
        self, database: Database, outbox: Outbox, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def ping(self, subscription_id: UUID) -> Pong:
        """Send one at once, whatever the subscription's status, with no transaction open; it changes nothing.

        Raises:
            NotFound: 404.
            VaultClosed, VaultKeyMissing: 503.
        """
        async with self._database.read() as session:
            overview = await OverviewRepository(session).get(subscription_id)
        stored, now, message_id = overview.subscription, self._clock(), uuid7()
        body = ping_body(message_id, self._outbox.ledger_id, stored.id, now)
        envelope = self._outbox.envelopes.open(stored, overview.now)
        headers = envelope.create_headers(str(message_id), body, now)
        answer = await self._outbox.sender.send(stored.url, headers, body)
        return Pong(answer, judge(answer))
