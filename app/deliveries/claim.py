"""Claims what may be sent now, for all subscriptions in one transaction, and keeps the leases."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.database.engine import Database
from app.deliveries.claim_repository import ClaimRepository, DueSubscription, LeasedDelivery, LeaseKey, Recipient
from app.deliveries.message import MessageFactory, MessageSigner
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import Slots, allowed
from app.errors import describe
from app.log.sparing import SparingLog
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey

SUBSCRIPTIONS_AT_ONCE = 100  # claimed for, and locked, in one transaction
MIN_AGAIN_SECONDS = 0.01  # the soonest look at deliveries that a rate limit held back
LOCKED_SECONDS = 0.05  # until the next look at a subscription that another claim has locked


class Claim(NamedTuple):
    """The deliveries to send to one subscription, and what signs them."""

    recipient: Recipient
    signer: MessageSigner
    deliveries: Sequence[LeasedDelivery]


class LeaseKeeper:
    """Extends leases before they end. Deadlines are on the monotonic clock, early rather than late."""

    def __init__(
        self, database: Database, process: str, lease: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._process = process
        self._clock = clock
        self._deadlines: dict[LeaseKey, float] = {}
        self.lease = lease

    def __len__(self) -> int:
        return len(self._deadlines)

    def deadline(self) -> float:
        """When a lease ends that is claimed from now on."""
        return self._clock() + self.lease.total_seconds()

    def add(self, keys: Iterable[LeaseKey], deadline: float) -> None:
        self._deadlines |= dict.fromkeys(keys, deadline)

    def holds(self, key: LeaseKey) -> bool:
        return self._clock() < self._deadlines[key]

    def discard(self, keys: Iterable[LeaseKey]) -> None:
        for key in keys:
            self._deadlines.pop(key, None)

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Extend every lease that has not ended.

        Raises:
            DatabaseUnavailable: the database cannot serve; the leases keep their deadlines.
        """
        running = [delivery_id for delivery_id, fence in self._deadlines if self.holds((delivery_id, fence))]
        if not running:
            return
        deadline = self.deadline()
        async with self._database.transaction(wait_for_standbys=False) as session:
            extended = await ClaimRepository(session, self._process).extend(running, self.lease)
        self._deadlines |= {key: deadline for key in extended if key in self._deadlines}


class Claimer:
    """Keeps every limit: of a subscription, over all processes, and of this process."""

    def __init__(
        self,
        database: Database,
        process: str,
        messages: MessageFactory,
        *,
        slots: Slots,
        lease: timedelta,
        metrics: WebhookMetrics,
    ) -> None:
        self._database = database
        self._process = process
        self._messages = messages
        self._slots = slots
        self._lease = lease
        self._metrics = metrics
        self._log = SparingLog(__name__)

    async def list_due(self) -> list[Sequence[DueSubscription]]:
        """Subscriptions with due deliveries, in groups to be claimed for together."""
        async with self._database.read() as session:
            due = await ClaimRepository(session, self._process).list_due()
        return [due[start : start + SUBSCRIPTIONS_AT_ONCE] for start in range(0, len(due), SUBSCRIPTIONS_AT_ONCE)]

    async def claim(self, due: Sequence[DueSubscription]) -> tuple[Sequence[Claim], float]:
        """Claim for these subscriptions, and take a slot for each delivery.

        Returns the claims, and after how many seconds to look again; infinity: when something happens.
        """
        contested = self._slots.is_contested({one.id for one in due})
        taken = {one.id: self._slots.take(one.id, one.max_concurrency, contested=contested) for one in due}
        slots = {subscription_id: number for subscription_id, number in taken.items() if number}
        claims: Sequence[Claim] = []
        again_seconds = math.inf
        try:
            if slots:
                through = await self._database.watermark.bound()
                async with self._database.transaction(wait_for_standbys=False) as session:
                    claimed = await self._claim(ClaimRepository(session, self._process), slots, through)
                claims, again_seconds = claimed
        finally:
            used = {claim.recipient.id: len(claim.deliveries) for claim in claims}
            for subscription_id, number in slots.items():
                self._slots.give_back(subscription_id, number - used.get(subscription_id, 0))
        return claims, again_seconds

    async def _claim(
        self, repository: ClaimRepository, slots: Mapping[UUID, int], through: int | None
    ) -> tuple[Sequence[Claim], float]:
        recipients = await repository.list_recipients(slots)
        locked_seconds = LOCKED_SECONDS if len(recipients) < len(slots) else math.inf
        readable = [(recipient, signer) for recipient in recipients if (signer := self._signer(recipient))]
        if not readable:
            return [], locked_seconds
        counts = await repository.count_claimed([recipient.id for recipient, _ in readable])
        limits = {one.id: _limit(one, slots[one.id], counts[one.id]) for one, _ in readable}
        leased = await repository.claim_due(
            {subscription_id: limit.number for subscription_id, limit in limits.items() if limit.number > 0},
            recipients[0].now,
            self._lease,
            through,
        )
        await repository.mark_next_sends(dict(_next_sends(recipients, leased)))
        again = (_again_seconds(one, len(leased[one.id]), limits[one.id], slots[one.id]) for one, _ in readable)
        return [Claim(one, signer, leased[one.id]) for one, signer in readable], min(locked_seconds, *again)

    def _signer(self, recipient: Recipient) -> MessageSigner | None:
        """The signer of its messages; None when no key decrypts its secrets: its deliveries wait for the operator."""
        try:
            return self._messages.signer(recipient, recipient.now)
        except (NoEncryptionKey, EncryptionKeyMissing, json.JSONDecodeError) as error:
            self._metrics.unreadable.inc()
            details = {"subscription_id": str(recipient.id), "reason": describe(error)}
            self._log.error("subscription skipped", **details)
            return None


class _Limit(NamedTuple):
    """The number to claim, and whether the rate limit bounds it."""

    number: int
    is_rated: bool = False


def _limit(recipient: Recipient, slots: int, claimed: int) -> _Limit:
    """The number to claim, given the claims of all processes."""
    if recipient.slow_until is not None and recipient.slow_until > recipient.now:
        return _Limit(0)
    at_once = 1 if recipient.slow_count else recipient.max_concurrency  # a slowed one is probed with one delivery
    limit = max(min(slots, at_once - claimed), 0)
    if recipient.rate_limit_per_second is None:
        return _Limit(limit)
    rated, _ = allowed(recipient.next_send_at, recipient.now, recipient.rate_limit_per_second, limit)
    return _Limit(rated, is_rated=rated < limit)


def _next_sends(
    recipients: Sequence[Recipient], leased: Mapping[UUID, Sequence[LeasedDelivery]]
) -> Iterator[tuple[UUID, datetime]]:
    for one in recipients:
        if one.rate_limit_per_second is not None and leased[one.id]:
            _, at = allowed(one.next_send_at, one.now, one.rate_limit_per_second, len(leased[one.id]))
            yield one.id, at


def _again_seconds(recipient: Recipient, claimed: int, limit: _Limit, slots: int) -> float:
    """At once when the slots alone were too few, and at the pace of the rate limit when that was the reason."""
    if claimed == slots:
        return 0
    if limit.is_rated and claimed == limit.number and recipient.rate_limit_per_second:
        return max(1 / recipient.rate_limit_per_second, MIN_AGAIN_SECONDS)
    return math.inf
