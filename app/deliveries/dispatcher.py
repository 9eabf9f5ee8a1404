"""The dispatcher: claims deliveries, sends them with no transaction open, and settles the results."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import structlog

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.deliveries.claim import ClaimRepository, LeasedDelivery, LeaseKeeper
from app.deliveries.message import MessageFactory, MessageSigner
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryPolicy, Slots, allowed, classify, limit_claim, seconds_until_next
from app.deliveries.settle import Settler
from app.deliveries.settlement_repository import Result
from app.errors import describe
from app.log.sparing import SparingLog
from app.outbound.client import AttemptResponse, OutboundClient
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey
from app.subscriptions.models import Subscription

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 1  # for the last results, and again for giving back the leases
SUBSCRIPTIONS_AT_ONCE = 100  # claimed for, and locked, in one transaction
LOCKED_SECONDS = 0.05  # until the next look at a subscription that another claim has locked


class Claim(NamedTuple):
    """The deliveries to send to one subscription, and what signs them."""

    subscription: Subscription
    signer: MessageSigner
    deliveries: Sequence[LeasedDelivery]


class Dispatcher:
    """Each replica has one; they share the work through the leases and need no leader.

    It keeps every limit: of a subscription, over all processes, and of this process. Sets `wake` when there may be
    something to claim.
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
        metrics: WebhookMetrics,
    ) -> None:
        self._database = database
        self._messages = messages
        self._client = client
        self._wake = wake
        self._metrics = metrics
        self._process = uuid4().hex
        self._slots = Slots(concurrency)
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._log = SparingLog(__name__)
        self._settler = Settler(database, self._process, policy, on_settled=self._finish, metrics=metrics)
        self.leases = LeaseKeeper(database, self._process, lease)

    async def run_once(self, stopping: asyncio.Event | None = None) -> int:
        """Claim everything that may be sent now, begin to send it, and return the number of deliveries.

        Raises:
            DatabaseUnavailable: the database cannot serve; deliveries that are being sent go on.
        """
        total, again_seconds = 0, 0.0
        while again_seconds == 0 and not (stopping and stopping.is_set()):
            again_seconds = math.inf
            async with self._database.read() as session:
                due = await ClaimRepository(session, self._process).list_due()
            for start in range(0, len(due), SUBSCRIPTIONS_AT_ONCE):
                deadline = self.leases.deadline()
                claims, seconds = await self._claim(dict(due[start : start + SUBSCRIPTIONS_AT_ONCE]))
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

    async def _claim(self, due: Mapping[UUID, int]) -> tuple[Sequence[Claim], float]:
        """Claim for subscriptions, each with its `max_concurrency`, and take a slot for each delivery.

        Returns the claims, and after how many seconds to look again; infinity: when something happens.
        """
        contested = self._slots.is_contested(set(due))
        taken = {id_: self._slots.take(id_, wanted, contested=contested) for id_, wanted in due.items()}
        slots = {id_: number for id_, number in taken.items() if number}
        claims: Sequence[Claim] = []
        again_seconds = math.inf
        try:
            if slots:
                through = await self._database.watermark.bound()
                async with self._database.transaction(wait_for_standbys=False) as session:
                    claimed = await self._claim_for(ClaimRepository(session, self._process), slots, through)
                claims, again_seconds = claimed
        finally:
            used = {claim.subscription.id: len(claim.deliveries) for claim in claims}
            for id_, number in slots.items():
                self._slots.give_back(id_, number - used.get(id_, 0))
        return claims, again_seconds

    async def _claim_for(
        self, repository: ClaimRepository, slots: Mapping[UUID, int], through: int | None
    ) -> tuple[Sequence[Claim], float]:
        rows = await repository.list_recipients(slots)
        again_seconds = LOCKED_SECONDS if len(rows) < len(slots) else math.inf
        signers = {one: signer for one, now in rows if (signer := self._signer(one, now))}
        if not signers:
            return [], again_seconds
        now = rows[0][1]
        counts = await repository.count_claimed([one.id for one in signers])
        limits = {one.id: limit_claim(one, now, slots[one.id], counts[one.id]) for one in signers}
        numbers = {id_: limit.number for id_, limit in limits.items() if limit.number}
        leased = await repository.claim_due(numbers, now, self.leases.lease, through)
        for one in signers:
            number = len(leased[one.id])
            if one.rate_limit_per_second is not None and number:
                _, one.next_send_at = allowed(one.next_send_at, now, one.rate_limit_per_second, number)
            seconds = seconds_until_next(one, number, limits[one.id], slots[one.id])
            again_seconds = min(again_seconds, seconds)
        return [Claim(one, signer, leased[one.id]) for one, signer in signers.items()], again_seconds

    def _signer(self, subscription: Subscription, now: datetime) -> MessageSigner | None:
        """The signer of its messages; None when no key decrypts its secrets: its deliveries wait for the operator."""
        try:
            return self._messages.signer(subscription, now)
        except (NoEncryptionKey, EncryptionKeyMissing, json.JSONDecodeError) as error:
            self._metrics.unreadable.inc()
            self._log.error("subscription skipped", subscription_id=str(subscription.id), reason=describe(error))
            return None

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
        url, subscription_id = claim.subscription.url, claim.subscription.id
        if not self.leases.holds(delivery.key):
            log.warning("lease ended before it was used", delivery_id=delivery.id)
            self._release(subscription_id, delivery)
            return
        started_at = datetime.now(UTC)
        try:
            headers, body = claim.signer.event(delivery.event, started_at)
            response = await self._client.send(url, headers, body)
        except Exception:
            # The delivery is settled in any case: no other process can claim it while its lease is extended.
            log.exception("delivery could not be sent", delivery_id=delivery.id)
            why = "an unexpected error; the log has it under the delivery's id"
            response = AttemptResponse(duration_seconds=0, error=why)
        outcome = classify(response)
        self._settler.submit(Result(subscription_id, url, delivery, started_at, response, outcome))

    def _finish(self, results: Sequence[Result]) -> None:
        for result in results:
            self._release(result.subscription_id, result.delivery)
        self._wake.set()

    def _release(self, subscription_id: UUID, delivery: LeasedDelivery) -> None:
        self._slots.give_back(subscription_id)
        self.leases.discard(delivery.key)
        self._metrics.in_flight.dec()
