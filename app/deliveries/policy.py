"""The consequences of an attempt (outcome, retry decision, subscription health), and the limits of claims. No I/O."""

import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple, Self
from uuid import UUID

from app.concurrency.rate_limit import allow
from app.config import Settings
from app.outbound.client import AttemptResponse
from app.subscriptions.models import DeliveryStatus, Outcome, Subscription

GROWTH = 3
MAX_DELAY = timedelta(hours=8)
MAX_RETRY_AFTER = timedelta(hours=24)
SLOW_BASE = timedelta(seconds=1)
MAX_SLOW_DELAY = timedelta(minutes=5)
MIN_AGAIN_SECONDS = 0.01  # the soonest look at deliveries that a rate limit held back
MAX_SLOW_COUNT = 30  # the delay has reached its limit long before

_MAX_EXPONENT = 60  # every delay has reached its limit; a larger power would overflow a float
_SLOW_DOWN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})

Random = Callable[[], float]  # from 0 up to 1


class RetryPolicy(NamedTuple):
    """How long to retry a delivery, and how long a subscription may only fail before it is disabled."""

    interval: timedelta
    max_failures: int
    disable_after: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Self:
        interval = timedelta(seconds=settings.webhook_retry_interval)
        failures = max_attempts(interval, timedelta(hours=settings.webhook_retry_hours))
        return cls(interval, failures, timedelta(days=settings.webhook_disable_days))


class RetryDecision(NamedTuple):
    """The delivery's new state; `due_at` is None once it is settled."""

    status: DeliveryStatus
    due_at: datetime | None
    failures: int


class Slots:
    """Shares the concurrent deliveries of one process among its subscriptions. Pure policy.

    No subscription holds more than three quarters of them, and one that holds none always gets one, so that a receiver
    that hangs never keeps another one waiting.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = max(total * 3 // 4, 1)  # of one subscription
        self._held: Counter[UUID] = Counter()

    @property
    def held(self) -> int:
        return self._held.total()

    def take(self, subscription_id: UUID, wanted: int, *, contested: bool) -> int:
        """Take slots until the subscription holds `wanted`, at most half of the free ones if `contested`.

        Returns how many were taken.
        """
        free = max(self._total - self.held, 0)
        share = (free + 1) // 2 if contested else free
        held = self._held[subscription_id]
        taken = max(min(share, min(wanted, self._share) - held), 0 if held else 1)
        self._held[subscription_id] += taken
        return taken

    def give_back(self, subscription_id: UUID, number: int = 1) -> None:
        self._held[subscription_id] -= number
        if not self._held[subscription_id]:
            del self._held[subscription_id]

    def is_contested(self, subscription_ids: set[UUID]) -> bool:
        """Whether more than one subscription holds slots or, being among `subscription_ids`, wants some."""
        return len(subscription_ids | set(self._held)) > 1


def classify(response: AttemptResponse) -> Outcome:
    match response.status_code:
        case None if response.refused:
            return Outcome.REFUSED
        case None if response.timed_out:
            return Outcome.TIMEOUT
        case None:
            return Outcome.UNREACHABLE if response.unreachable else Outcome.FAILED
        case HTTPStatus.GONE:
            return Outcome.GONE
        case status if 200 <= status < 300:
            return Outcome.DELIVERED
        case status:
            return Outcome.SLOW_DOWN if status in _SLOW_DOWN else Outcome.FAILED


def decide(
    outcome: Outcome,
    failures: int,
    now: datetime,
    policy: RetryPolicy,
    *,
    random: Random,
    retry_after_seconds: float | None,
) -> RetryDecision:
    """The decision after an attempt that ended now; `failures` counts the failures before it.

    GONE alone does not count as a failure: the delivery waits until an operator activates the subscription again.
    """
    if outcome is Outcome.DELIVERED:
        return RetryDecision(DeliveryStatus.DELIVERED, None, failures)
    if outcome is Outcome.GONE:
        return RetryDecision(DeliveryStatus.PENDING, now, failures)
    failures += 1
    if failures >= policy.max_failures:
        return RetryDecision(DeliveryStatus.DEAD, None, failures)
    due_at = next_attempt(now, failures, policy.interval, random, retry_after_seconds)
    return RetryDecision(DeliveryStatus.PENDING, due_at, failures)


def record_outcome(
    subscription: Subscription, outcome: Outcome, now: datetime, random: Random, retry_after_seconds: float | None
) -> None:
    """Update the health of a subscription after an attempt that ended now.

    Attempts that were under way together slow it down once; a longer wait that the receiver asks for counts. A
    success that was under way at the time does not undo that. `slow_count` rises up to `MAX_SLOW_COUNT`.
    """
    until = subscription.slow_until if subscription.slow_until and subscription.slow_until > now else None
    if outcome is Outcome.DELIVERED:
        subscription.failing_since = None
        if until is None:
            subscription.slow_until, subscription.slow_count = None, 0
        return
    subscription.failing_since = min(subscription.failing_since or now, now)  # a clock may have been set back since
    if not outcome.slows:
        return
    if until is None:
        subscription.slow_count = min(subscription.slow_count + 1, MAX_SLOW_COUNT)
        until = now + slow_delay(subscription.slow_count, random)
    if retry_after_seconds is not None:
        until = max(until, now + min(timedelta(seconds=retry_after_seconds), MAX_RETRY_AFTER))
    subscription.slow_until, subscription.slow_seconds = until, whole_seconds(until - now)


def has_failed_for(subscription: Subscription, period: timedelta, now: datetime) -> bool:
    """Whether every attempt of the last `period` failed."""
    return subscription.failing_since is not None and now - subscription.failing_since >= period


def whole_seconds(wait: timedelta) -> int:
    """How long a due time may lie ahead, in the seconds that are stored with it."""
    return math.ceil(wait.total_seconds())


def delay(attempts: int, interval: timedelta) -> timedelta:
    """The pause after failed attempt number `attempts`: `interval`, three times as long each time, up to 8 hours."""
    longest = max(MAX_DELAY, interval)
    return interval * min(float(GROWTH ** min(attempts - 1, _MAX_EXPONENT)), longest / interval)


def max_attempts(interval: timedelta, period: timedelta) -> int:
    """How many attempts fit into `period`, at least one; after the last one the delivery is dead."""
    attempts, total = 1, timedelta()
    while attempts < 10_000 and (total := total + delay(attempts, interval)) <= period:
        attempts += 1
    return attempts


def next_attempt(
    now: datetime, attempts: int, interval: timedelta, random: Random, retry_after_seconds: float | None = None
) -> datetime:
    """When to retry after `attempts` failed attempts: the delay, give or take a fifth, and not before Retry-After."""
    wait = delay(attempts, interval) * _jitter(random)
    if retry_after_seconds is not None:
        wait = max(wait, timedelta(seconds=min(retry_after_seconds, MAX_RETRY_AFTER.total_seconds())))
    return now + wait


def slow_delay(slow_count: int, random: Random) -> timedelta:
    """How long a subscription is slowed down after `slow_count` such responses in a row: 1 second to 5 minutes."""
    return min(SLOW_BASE * float(2 ** min(slow_count - 1, MAX_SLOW_COUNT)), MAX_SLOW_DELAY) * _jitter(random)


def allowed(next_send_at: datetime | None, now: datetime, rate_per_second: float, at_most: int) -> tuple[int, datetime]:
    """How many deliveries may be sent now at `rate_per_second`, and the `next_send_at` to store for them.

    The burst is one second, or one delivery at lower rates.
    """
    step = max(1, round(1_000_000 / rate_per_second))  # microseconds, like the rest
    even_time = None if next_send_at is None else (next_send_at - now) // timedelta.resolution
    count, even_time = allow(even_time, 0, step, max(1_000_000, step), at_most)
    return count, now + even_time * timedelta.resolution


class ClaimLimit(NamedTuple):
    """The number of deliveries to claim, and whether the rate limit bounds it."""

    number: int
    is_rated: bool = False


def limit_claim(subscription: Subscription, now: datetime, slots: int, claimed: int) -> ClaimLimit:
    """The limit for a subscription of which `claimed` deliveries are under way, over all processes."""
    if subscription.slow_until is not None and subscription.slow_until > now:
        return ClaimLimit(0)
    at_once = 1 if subscription.slow_count else subscription.max_concurrency  # a slowed one is probed with one delivery
    limit = max(min(slots, at_once - claimed), 0)
    if subscription.rate_limit_per_second is None:
        return ClaimLimit(limit)
    rated, _ = allowed(subscription.next_send_at, now, subscription.rate_limit_per_second, limit)
    return ClaimLimit(rated, is_rated=rated < limit)


def seconds_until_next(subscription: Subscription, claimed: int, limit: ClaimLimit, slots: int) -> float:
    """Seconds until the next claim.

    0 if the slots limited this one, the interval of the rate limit if the rate limit did, else infinity.
    """
    if claimed == slots:
        return 0
    if limit.is_rated and claimed == limit.number and subscription.rate_limit_per_second:
        return max(1 / subscription.rate_limit_per_second, MIN_AGAIN_SECONDS)
    return math.inf


def _jitter(random: Random) -> float:
    return 0.8 + 0.4 * random()
