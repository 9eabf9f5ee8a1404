"""What follows from an attempt: its outcome, the retry decision and the subscription's health. Pure policy."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple, Self
from uuid import UUID

from app.config import Settings
from app.outbound.response import AttemptResponse
from app.subscriptions.models import DeliveryStatus, Outcome

GROWTH = 3
MAX_DELAY = timedelta(hours=8)
MAX_RETRY_AFTER = timedelta(hours=24)
SLOW_BASE = timedelta(seconds=1)
MAX_SLOW_DELAY = timedelta(minutes=5)
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
        """The policy that the settings ask for."""
        interval = timedelta(seconds=settings.webhook_retry_interval)
        failures = max_attempts(interval, timedelta(hours=settings.webhook_retry_hours))
        return cls(interval, failures, timedelta(days=settings.webhook_disable_days))


class RetryDecision(NamedTuple):
    """The delivery's new state; `due_at` is None once it is settled."""

    status: DeliveryStatus
    due_at: datetime | None
    failures: int

    @property
    def is_dead(self) -> bool:
        """Whether this was the last attempt."""
        return self.status is DeliveryStatus.DEAD


@dataclass(slots=True)
class SubscriptionHealth:
    """Since when a subscription only fails, and until when it is slowed down.

    `slow_count` counts how often in a row it was slowed down, up to `MAX_SLOW_COUNT`.
    """

    subscription_id: UUID
    url: str
    failing_since: datetime | None
    slow_until: datetime | None
    slow_count: int

    def record(self, outcome: Outcome, now: datetime, random: Random, retry_after_seconds: float | None) -> None:
        """Take account of one attempt that ended now.

        Attempts that were under way together slow it down once; a longer wait that the receiver asks for counts. A
        success that was under way at the time does not undo that.
        """
        if outcome is Outcome.DELIVERED:
            self.failing_since = None
            if self.slow_until is None or self.slow_until <= now:
                self.slow_until = None
                self.slow_count = 0
            return
        self.failing_since = self.failing_since or now
        if not outcome.slows:
            return
        if self.slow_until is None or self.slow_until <= now:
            self.slow_count = min(self.slow_count + 1, MAX_SLOW_COUNT)
            self.slow_until = now + slow_delay(self.slow_count, random)
        if retry_after_seconds is not None:
            asked = now + min(timedelta(seconds=retry_after_seconds), MAX_RETRY_AFTER)
            self.slow_until = max(self.slow_until, asked)

    def has_failed_for(self, period: timedelta, now: datetime) -> bool:
        """Whether every attempt of the last `period` failed."""
        return self.failing_since is not None and now - self.failing_since >= period


def classify(response: AttemptResponse) -> Outcome:
    """The outcome of an attempt."""
    if response.status_code is not None:
        return _classify_status(response.status_code)
    if response.refused:
        return Outcome.REFUSED
    if response.timed_out:
        return Outcome.TIMEOUT
    return Outcome.UNREACHABLE if response.unreachable else Outcome.FAILED


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

    The generic cell rate algorithm (ITU-T I.371) with a burst of one second, or of one delivery at lower rates.
    """
    step = max(timedelta(seconds=1 / rate_per_second), timedelta.resolution)
    burst = max(timedelta(seconds=1), step)
    start = now if next_send_at is None else max(next_send_at, now)
    count = min(at_most, max(0, int((now + burst - start) / step)))
    return count, start + step * count


def _classify_status(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == HTTPStatus.GONE:
        return Outcome.GONE
    return Outcome.SLOW_DOWN if status in _SLOW_DOWN else Outcome.FAILED


def _jitter(random: Random) -> float:
    return 0.8 + 0.4 * random()
