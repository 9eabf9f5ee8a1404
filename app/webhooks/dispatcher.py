"""The dispatcher: claims deliveries that are due, sends them with no transaction open, and has the results settled."""

import asyncio
import time
from collections.abc import Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import structlog

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import describe
from app.metrics import WebhookMetrics
from app.webhooks.claim_repository import ClaimedDelivery, ClaimRepository, DueSubscription, Recipient
from app.webhooks.cloud_event import event_body
from app.webhooks.envelope import Envelope, EnvelopeFactory
from app.webhooks.lease_keeper import LeaseKeeper
from app.webhooks.outcome import judge
from app.webhooks.result import Result
from app.webhooks.retry import allowed
from app.webhooks.sender import Sender
from app.webhooks.settler import Settler
from app.webhooks.slots import Slots
from app.webhooks.vault import VaultClosed, VaultKeyMissing
from app.webhooks.verdict import RetryPolicy

log = structlog.get_logger(__name__)

CLAIMS_AT_ONCE = 4  # each holds a connection
BUSY_SECONDS = 0.05  # until a subscription that another claim has locked is looked at again
CLOSE_SECONDS = 1  # for the last results, and as much for the leases that are given back
TOLD_SECONDS = 60  # between two log lines on secrets that can not be opened


class _Claim(NamedTuple):
    """What was claimed to be sent now, and after how many seconds to look again; None: when something happens."""

    deliveries: Sequence[ClaimedDelivery] = ()
    recipient: Recipient | None = None
    envelope: Envelope | None = None
    again_seconds: float | None = None


class Dispatcher:
    """Each replica has one; they share the work through the leases and need no leader.

    Sets `wake` when there may be something to claim.
    """

    def __init__(
        self,
        database: Database,
        sender: Sender,
        envelopes: EnvelopeFactory,
        policy: RetryPolicy,
        *,
        ledger_id: UUID,
        concurrency: int,
        lease: timedelta,
        wake: asyncio.Event,
        metrics: WebhookMetrics | None = None,
    ) -> None:
        self._database = database
        self._sender = sender
        self._envelopes = envelopes
        self._ledger_id = ledger_id
        self._wake = wake
        self._metrics = metrics or WebhookMetrics()
        self._process = uuid4().hex
        self._slots = Slots(concurrency)
        self._few = asyncio.Semaphore(CLAIMS_AT_ONCE)
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = -float(TOLD_SECONDS)
        self.leases = LeaseKeeper(database, self._process, lease)
        self._settler = Settler(database, self._process, policy, on_settled=self._finish, metrics=self._metrics)

    async def run_once(self, stopping: asyncio.Event | None = None) -> int:
        """Claim whatever may be sent now, begin to send it, and return how many deliveries that are.

        Raises:
            DatabaseUnavailable: when the database can not serve; what is under way goes on.
        """
        total, again_seconds = 0, 0.0
        while again_seconds == 0 and not (stopping and stopping.is_set()):
            claims = await self._claim_all()
            total += sum(len(claim.deliveries) for claim in claims)
            again_seconds = min((c.again_seconds for c in claims if c.again_seconds is not None), default=-1)
        self._wake_after(again_seconds)
        return total

    async def stop(self, timeout_seconds: float) -> None:
        """Let what is under way be answered, and settle it, for so long in all; the rest is due at once for others.

        Nothing claims any more: the pass that called `run_once` has ended before.
        """
        self._wake_after(-1)
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
        """Have the next pass begin so soon; with a negative number when something else has it begin."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds < 0 else asyncio.get_running_loop().call_later(seconds, self._wake.set)

    async def _claim_all(self) -> list[_Claim]:
        async with self._database.read() as session:
            due = await ClaimRepository(session, self._process).list_due()
        contested = self._slots.is_contested({subscription.id for subscription in due})
        claims = (self._claim_one(subscription, contested=contested) for subscription in due)
        results = await asyncio.gather(*claims, return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error
        return [claim for claim in results if not isinstance(claim, BaseException)]

    async def _claim_one(self, due: DueSubscription, *, contested: bool) -> _Claim:
        """Take slots, claim for them, and begin to send; slots that nothing is claimed for are given back."""
        slots = self._slots.take(due.id, due.max_concurrency, contested=contested)
        if not slots:
            return _Claim()
        used = 0
        try:
            async with self._few:
                deadline = self.leases.deadline()
                async with self._database.transaction() as session:
                    claim = await self._claim(ClaimRepository(session, self._process), due.id, slots)
            used = len(claim.deliveries)
        finally:
            self._slots.give_back(due.id, slots - used)
        self._begin(claim, deadline)
        return claim

    async def _claim(self, repository: ClaimRepository, subscription_id: UUID, slots: int) -> _Claim:
        recipient = await repository.find_recipient(subscription_id)
        if recipient is None:
            return _Claim(again_seconds=BUSY_SECONDS)
        envelope = self._open(recipient)
        if envelope is None:
            return _Claim()
        limit = _limit(recipient, slots, await repository.count_claimed(recipient))
        deliveries = await repository.claim_due(recipient, limit=limit, lease=self.leases.lease) if limit > 0 else []
        rate, again_seconds = recipient.rate_limit_per_second, None
        if rate is not None and deliveries:
            _, next_send_at = allowed(recipient.next_send_at, recipient.now, rate, len(deliveries))
            await repository.mark_next_send(recipient, next_send_at)
        if len(deliveries) == slots:
            again_seconds = 0.0
        elif rate is not None and len(deliveries) == limit:
            again_seconds = 1 / rate
        return _Claim(deliveries, recipient, envelope, again_seconds)

    def _open(self, recipient: Recipient) -> Envelope | None:
        """What its messages are sent with; None when no key opens it: its deliveries wait for the operator."""
        try:
            return self._envelopes.open(recipient, recipient.now)
        except (VaultClosed, VaultKeyMissing) as error:
            self._metrics.unreadable.inc()
            if time.monotonic() - self._told_at >= TOLD_SECONDS:
                self._told_at = time.monotonic()
                details = {"subscription_id": str(recipient.id), "reason": describe(error)}
                log.error("subscription is not sent to", **details)  # noqa: TRY400 - a matter of settings
            return None

    def _begin(self, claim: _Claim, deadline: float) -> None:
        if claim.recipient is None or claim.envelope is None:
            return
        self.leases.add((delivery.key for delivery in claim.deliveries), deadline)
        self._metrics.in_flight.inc(len(claim.deliveries))
        for delivery in claim.deliveries:
            send = self._send(claim.recipient, claim.envelope, delivery)
            task = asyncio.create_task(send, name="webhook-delivery", context=Context())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, recipient: Recipient, envelope: Envelope, delivery: ClaimedDelivery) -> None:
        if not self.leases.holds(delivery.key):
            log.warning("lease ended before it was used", delivery_id=delivery.id)
            self._release(recipient.id, delivery)
            return
        body = event_body(delivery.event, self._ledger_id)
        started_at = datetime.now(UTC)
        headers = envelope.create_headers(str(delivery.event.id), body, started_at)
        answer = await self._sender.send(recipient.url, headers, body)
        self._settler.submit(Result(recipient.id, delivery, started_at, answer, judge(answer)))

    def _finish(self, results: Sequence[Result]) -> None:
        for result in results:
            self._release(result.subscription_id, result.delivery)
        self._wake.set()

    def _release(self, subscription_id: UUID, delivery: ClaimedDelivery) -> None:
        self._slots.give_back(subscription_id)
        self.leases.discard([delivery.key])
        self._metrics.in_flight.dec()


def _limit(recipient: Recipient, slots: int, claimed: int) -> int:
    """How many to claim: so many beside those claimed already, by any process, that no limit is passed."""
    if recipient.slow_until is not None and recipient.slow_until > recipient.now:
        return 0
    at_once = 1 if recipient.slow_count else recipient.max_concurrency  # one goes ahead of all others
    limit = min(slots, at_once - claimed)
    if limit > 0 and recipient.rate_limit_per_second is not None:
        limit, _ = allowed(recipient.next_send_at, recipient.now, recipient.rate_limit_per_second, limit)
    return limit
