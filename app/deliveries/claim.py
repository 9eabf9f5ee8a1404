"""Claims what may be sent now, for all subscriptions in one transaction."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog

from app.database.engine import Database
from app.deliveries.claim_repository import Claimed, ClaimedDelivery, ClaimRepository, DueSubscription, Recipient
from app.deliveries.message import Envelope, EnvelopeFactory
from app.deliveries.retry import allowed
from app.deliveries.slots import Slots
from app.errors import describe
from app.metrics import WebhookMetrics
from app.outbound.cipher import VaultClosed, VaultKeyMissing

log = structlog.get_logger(__name__)

SUBSCRIPTIONS_AT_ONCE = 100  # claimed for, and locked, in one transaction
MIN_AGAIN_SECONDS = 0.01  # so soon at most is looked again for what a rate limit held back
BUSY_SECONDS = 0.05  # until a subscription that another claim has locked is looked at again
TOLD_SECONDS = 60  # between two log lines on secrets that can not be opened


class Claim(NamedTuple):
    """What is to be sent to one subscription."""

    recipient: Recipient
    envelope: Envelope
    deliveries: Sequence[ClaimedDelivery]


class Claims(NamedTuple):
    """What was claimed, and after how many seconds to look again; infinity: when something happens."""

    claims: Sequence[Claim]
    again_seconds: float


class Claimer:
    """Keeps every limit: of a subscription, whoever sends to it, and of this process."""

    def __init__(
        self,
        database: Database,
        process: str,
        envelopes: EnvelopeFactory,
        *,
        slots: Slots,
        lease: timedelta,
        metrics: WebhookMetrics,
    ) -> None:
        self._database = database
        self._process = process
        self._envelopes = envelopes
        self._slots = slots
        self._lease = lease
        self._metrics = metrics
        self._told_at = -math.inf

    async def list_due(self) -> list[Sequence[DueSubscription]]:
        """Subscriptions that something may be sent to, in parts to be claimed for together."""
        async with self._database.read() as session:
            due = await ClaimRepository(session, self._process).list_due()
        return [due[start : start + SUBSCRIPTIONS_AT_ONCE] for start in range(0, len(due), SUBSCRIPTIONS_AT_ONCE)]

    async def claim(self, due: Sequence[DueSubscription]) -> Claims:
        """Claim for these, and take a slot for each delivery."""
        contested = self._slots.is_contested({one.id for one in due})
        taken = {one.id: self._slots.take(one.id, one.max_concurrency, contested=contested) for one in due}
        slots = {subscription_id: number for subscription_id, number in taken.items() if number}
        claims = Claims([], math.inf)
        try:
            if slots:
                async with self._database.transaction() as session:
                    found = await self._claim(ClaimRepository(session, self._process), slots)
                claims = found
        finally:
            used = {claim.recipient.id: len(claim.deliveries) for claim in claims.claims}
            for subscription_id, number in slots.items():
                self._slots.give_back(subscription_id, number - used.get(subscription_id, 0))
        return claims

    async def _claim(self, repository: ClaimRepository, slots: Mapping[UUID, int]) -> Claims:
        recipients = await repository.list_recipients(slots)
        busy_seconds = BUSY_SECONDS if len(recipients) < len(slots) else math.inf
        opened = [(recipient, envelope) for recipient in recipients if (envelope := self._open(recipient))]
        if not opened:
            return Claims([], busy_seconds)
        counts = await repository.count_claimed([recipient.id for recipient, _ in opened])
        limits = {one.id: _limit(one, slots[one.id], counts[one.id]) for one, _ in opened}
        claimed = await repository.claim_due(
            {subscription_id: limit.number for subscription_id, limit in limits.items() if limit.number > 0},
            recipients[0].now,
            self._lease,
        )
        await repository.mark_next_sends(dict(_next_sends(recipients, claimed)))
        again = (_again_seconds(one, len(claimed[one.id]), limits[one.id], slots[one.id]) for one, _ in opened)
        return Claims([Claim(one, envelope, claimed[one.id]) for one, envelope in opened], min(busy_seconds, *again))

    def _open(self, recipient: Recipient) -> Envelope | None:
        """What its messages are sent with; None when that can not be read: its deliveries wait for the operator."""
        try:
            return self._envelopes.open(recipient, recipient.now)
        except (VaultClosed, VaultKeyMissing, json.JSONDecodeError) as error:
            self._metrics.unreadable.inc()
            if time.monotonic() - self._told_at >= TOLD_SECONDS:
                self._told_at = time.monotonic()
                details = {"subscription_id": str(recipient.id), "reason": describe(error)}
                log.error("subscription is not sent to", **details)  # noqa: TRY400 - a matter of settings
            return None


class _Limit(NamedTuple):
    """How many to claim, and whether it is the rate limit that allows no more."""

    number: int
    is_rated: bool = False


def _limit(recipient: Recipient, slots: int, claimed: int) -> _Limit:
    """How many to claim beside those claimed already, by any process."""
    if recipient.slow_until is not None and recipient.slow_until > recipient.now:
        return _Limit(0)
    at_once = 1 if recipient.slow_count else recipient.max_concurrency  # one goes ahead of all others
    limit = max(min(slots, at_once - claimed), 0)
    if recipient.rate_limit_per_second is None:
        return _Limit(limit)
    rated, _ = allowed(recipient.next_send_at, recipient.now, recipient.rate_limit_per_second, limit)
    return _Limit(rated, is_rated=rated < limit)


def _next_sends(recipients: Sequence[Recipient], claimed: Claimed) -> Iterator[tuple[UUID, datetime]]:
    for one in recipients:
        if one.rate_limit_per_second is not None and claimed[one.id]:
            _, at = allowed(one.next_send_at, one.now, one.rate_limit_per_second, len(claimed[one.id]))
            yield one.id, at


def _again_seconds(recipient: Recipient, claimed: int, limit: _Limit, slots: int) -> float:
    """At once when only slots were too few, and at the pace of the rate limit when that was."""
    if claimed == slots:
        return 0
    if limit.is_rated and claimed == limit.number and recipient.rate_limit_per_second:
        return max(1 / recipient.rate_limit_per_second, MIN_AGAIN_SECONDS)
    return math.inf
