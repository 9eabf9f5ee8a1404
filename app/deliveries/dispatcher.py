"""The dispatcher: has deliveries claimed, sends them with no transaction open, and has the results settled."""

import asyncio
import math
from collections.abc import Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import structlog

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.deliveries.claim import Claim, Claimer
from app.deliveries.claim_repository import ClaimedDelivery, ClaimRepository, Recipient
from app.deliveries.cloud_event import event_body
from app.deliveries.lease_keeper import LeaseKeeper
from app.deliveries.message import Envelope
from app.deliveries.outbox import Outbox
from app.deliveries.outcome import judge
from app.deliveries.policy import RetryPolicy
from app.deliveries.result import Result
from app.deliveries.settle import Settler
from app.deliveries.slots import Slots
from app.metrics import WebhookMetrics
from app.outbound.response import Answer

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 1  # for the last results, and as much for the leases that are given back


class Dispatcher:
    """Each replica has one; they share the work through the leases and need no leader.

    Sets `wake` when there may be something to claim.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        policy: RetryPolicy,
        *,
        concurrency: int,
        lease: timedelta,
        wake: asyncio.Event,
        metrics: WebhookMetrics | None = None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._wake = wake
        self._metrics = metrics or WebhookMetrics()
        self._process = uuid4().hex
        self._slots = Slots(concurrency)
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.leases = LeaseKeeper(database, self._process, lease)
        self._claimer = Claimer(
            database, self._process, outbox.envelopes, slots=self._slots, lease=lease, metrics=self._metrics
        )
        self._settler = Settler(database, self._process, policy, on_settled=self._finish, metrics=self._metrics)

    async def run_once(self, stopping: asyncio.Event | None = None) -> int:
        """Claim whatever may be sent now, begin to send it, and return how many deliveries that are.

        Raises:
            DatabaseUnavailable: when the database can not serve; what is under way goes on.
        """
        total, again_seconds = 0, 0.0
        while again_seconds == 0 and not (stopping and stopping.is_set()):
            again_seconds = math.inf
            for due in await self._claimer.list_due():
                deadline = self.leases.deadline()
                claims = await self._claimer.claim(due)
                again_seconds = min(again_seconds, claims.again_seconds)
                total += sum(self._begin(claim, deadline) for claim in claims.claims)
        self._wake_after(again_seconds)
        return total

    async def stop(self, timeout_seconds: float) -> None:
        """Let what is under way be answered, and settle it, for so long in all; the rest is due at once for others.

        Nothing claims any more: the pass that called `run_once` has ended before.
        """
        self._wake_after(math.inf)
        if self._sending:
            await asyncio.wait(self._sending, timeout=max(0, timeout_seconds - 2 * CLOSE_SECONDS))
        for task in self._sending:
            task.cancel()
        await self._settler.close(CLOSE_SECONDS)
        try:
            async with asyncio.timeout(CLOSE_SECONDS), self._database.transaction() as session:
                await ClaimRepository(session, self._process).release()
        except (DatabaseUnavailable, TimeoutError):
            log.warning("leases are left to end by themselves", deliveries=len(self.leases))

    def _wake_after(self, seconds: float) -> None:
        """Have the next pass begin so soon; after infinity something else has it begin."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds == math.inf else asyncio.get_running_loop().call_later(seconds, self._wake.set)

    def _begin(self, claim: Claim, deadline: float) -> int:
        self.leases.add((delivery.key for delivery in claim.deliveries), deadline)
        self._metrics.in_flight.inc(len(claim.deliveries))
        for delivery in claim.deliveries:
            # A context of its own: the pass may have been begun by anybody.
            send = self._send(claim.recipient, claim.envelope, delivery)
            task = asyncio.create_task(send, name="webhook-delivery", context=Context())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return len(claim.deliveries)

    async def _send(self, recipient: Recipient, envelope: Envelope, delivery: ClaimedDelivery) -> None:
        if not self.leases.holds(delivery.key):
            log.warning("lease ended before it was used", delivery_id=delivery.id)
            self._release(recipient.id, delivery)
            return
        started_at = datetime.now(UTC)
        try:
            body = event_body(delivery.event, self._outbox.ledger_id)
            headers = envelope.create_headers(str(delivery.event.id), body, started_at)
            answer = await self._outbox.sender.send(recipient.url, headers, body)
        except Exception:  # whatever it was, the delivery is settled: nobody else can take a lease that is kept up
            log.exception("delivery could not be sent", delivery_id=delivery.id)
            answer = Answer(duration_seconds=0, error="an unexpected error; the log has it under the delivery's id")
        self._settler.submit(Result(recipient.id, recipient.url, delivery, started_at, answer, judge(answer)))

    def _finish(self, results: Sequence[Result]) -> None:
        for result in results:
            self._release(result.subscription_id, result.delivery)
        self._wake.set()

    def _release(self, subscription_id: UUID, delivery: ClaimedDelivery) -> None:
        self._slots.give_back(subscription_id)
        self.leases.discard([delivery.key])
        self._metrics.in_flight.dec()
