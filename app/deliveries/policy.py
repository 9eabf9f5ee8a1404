"""What becomes of a delivery after an attempt. Pure policy."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from app.config import Settings
from app.deliveries.retry import max_attempts, next_attempt
from app.subscriptions.models import DeliveryStatus, Outcome


class RetryPolicy(NamedTuple):
    """How long to go on: with one delivery, and with a subscription that only fails."""

    interval: timedelta
    max_failures: int
    disable_after: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        interval = timedelta(seconds=settings.webhook_retry_interval)
        failures = max_attempts(interval, timedelta(hours=settings.webhook_retry_hours))
        return cls(interval, failures, timedelta(days=settings.webhook_disable_days))


class Verdict(NamedTuple):
    """The delivery's new state; `due_at` is None once it is settled."""

    status: DeliveryStatus
    due_at: datetime | None
    failures: int

    @property
    def is_dead(self) -> bool:
        """Whether it was the last attempt."""
        return self.status is DeliveryStatus.DEAD


def decide(
    outcome: Outcome,
    failures: int,
    now: datetime,
    policy: RetryPolicy,
    *,
    random: Callable[[], float],
    retry_after_seconds: float | None,
) -> Verdict:
    """The verdict after an attempt that ended now; `failures` are those before it.

    Only GONE does not count against the delivery, which waits for the subscription to be wanted again.
    """
    if outcome is Outcome.DELIVERED:
        return Verdict(DeliveryStatus.DELIVERED, None, failures)
    if outcome is Outcome.GONE:
        return Verdict(DeliveryStatus.PENDING, now, failures)
    failures += 1
    if failures >= policy.max_failures:
        return Verdict(DeliveryStatus.DEAD, None, failures)
    due_at = next_attempt(now, failures, policy.interval, random, retry_after_seconds)
    return Verdict(DeliveryStatus.PENDING, due_at, failures)
