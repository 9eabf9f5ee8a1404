"""The dispatcher: claims deliveries, sends them with no transaction open, and settles the results."""

import asyncio
import math
from collections.abc import Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import structlog

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.deliveries.claim import Claim, Claimer, LeaseKeeper
from app.deliveries.claim_repository import ClaimRepository, LeasedDelivery
from app.deliveries.message import MessageFactory
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryPolicy, Slots, classify
from app.deliveries.settle import Settler
from app.deliveries.settlement_repository import Result
from app.outbound.client import AttemptResponse, OutboundClient

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 1  # for the last results, and again for giving back the leases


class Dispatcher:
    """Each replica has one; they share the work through the leases and need no leader.

    Sets `wake` when there may be something to claim.
    """

    def __init__(
        self,
        database: Database,
        messages: MessageFactory,
        client: OutboundClient,
        policy: RetryPolicy,
        *,
        concurrency: int,
        lease: timedelta,
        wake: asyncio.Event,
        metrics: WebhookMetrics | None = None,
    ) -> None:
        self._database = database
        self._client = client
        self._wake = wake
        self._metrics = metrics or WebhookMetrics()
        self._process = uuid4().hex
        self._slots = Slots(concurrency)
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.leases = LeaseKeeper(database, self._process, lease)
        self._claimer = Claimer(
            database, self._process, messages, slots=self._slots, lease=lease, metrics=self._metrics
        )
        self._settler = Settler(database, self._process, policy, on_settled=self._finish, metrics=self._metrics)

    async def run_once(self, stopping: asyncio.Event | None = None) -> int:
        """Claim everything that may be sent now, begin to send it, and return the number of deliveries.

        Raises:
            DatabaseUnavailable: the database cannot serve; deliveries that are being sent go on.
        """
        total, again_seconds = 0, 0.0
        while again_seconds == 0 and not (stopping and stopping.is_set()):
            again_seconds = math.inf
            for due in await self._claimer.list_due():
                deadline = self.leases.deadline()
                claims, seconds = await self._claimer.claim(due)
                again_seconds = min(again_seconds, seconds)
                total += sum(self._begin(claim, deadline) for claim in claims)
        self._wake_after(again_seconds)
        return total

    async def stop(self, timeout_seconds: float) -> None:
        """Finish what is being sent, and settle it, within `timeout_seconds`; the rest becomes due for other replicas.

        Nothing claims any more: the pass that called `run_once` has ended before.
        """
        self._wake_after(math.inf)
        if self._sending:
            await asyncio.wait(self._sending, timeout=max(0, timeout_seconds - 2 * CLOSE_SECONDS))
        for task in self._sending:
            task.cancel()
        await self._settler.close(CLOSE_SECONDS)
        try:
            async with asyncio.timeout(CLOSE_SECONDS), self._database.transaction(wait_for_standbys=False) as session:
                await ClaimRepository(session, self._process).release()
        except (DatabaseUnavailable, TimeoutError):
            log.warning("leases could not be released and will expire", deliveries=len(self.leases))

    def _wake_after(self, seconds: float) -> None:
        """Start the next pass after `seconds`; infinity: something else starts it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds == math.inf else asyncio.get_running_loop().call_later(seconds, self._wake.set)

    def _begin(self, claim: Claim, deadline: float) -> int:
        self.leases.add((delivery.key for delivery in claim.deliveries), deadline)
        self._metrics.in_flight.inc(len(claim.deliveries))
        for delivery in claim.deliveries:
            # A context of its own, so that log lines do not carry the ids of what woke this pass.
            task = asyncio.create_task(self._send(claim, delivery), name="webhook-delivery", context=Context())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return len(claim.deliveries)

    async def _send(self, claim: Claim, delivery: LeasedDelivery) -> None:
        recipient = claim.recipient
        if not self.leases.holds(delivery.key):
            log.warning("lease ended before it was used", delivery_id=delivery.id)
            self._release(recipient.id, delivery)
            return
        started_at = datetime.now(UTC)
        try:
            message = claim.signer.event(delivery.event, started_at)
            response = await self._client.send(recipient.url, message.headers, message.body)
        except (
            Exception
        ):  # the delivery is settled in any case: no other process can claim it while its lease is extended
            log.exception("delivery could not be sent", delivery_id=delivery.id)
            response = AttemptResponse(
                duration_seconds=0, error="an unexpected error; the log has it under the delivery's id"
            )
        outcome = classify(response)
        self._settler.submit(Result(recipient.id, recipient.url, delivery, started_at, response, outcome))

    def _finish(self, results: Sequence[Result]) -> None:
        for result in results:
            self._release(result.subscription_id, result.delivery)
        self._wake.set()

    def _release(self, subscription_id: UUID, delivery: LeasedDelivery) -> None:
        self._slots.give_back(subscription_id)
        self.leases.discard([delivery.key])
        self._metrics.in_flight.dec()
