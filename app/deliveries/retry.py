"""When a delivery is tried again, and how fast a subscriber is sent to. Pure policy."""

from collections.abc import Callable
from datetime import datetime, timedelta

GROWTH = 3
MAX_DELAY = timedelta(hours=8)
MAX_RETRY_AFTER = timedelta(hours=24)
SLOW_BASE = timedelta(seconds=1)
MAX_SLOW_DELAY = timedelta(minutes=5)
MAX_SLOW_COUNT = 30  # by then the delay has long been at its limit

_MAX_EXPONENT = 60  # by then every delay is at its limit; more would be a number that no float holds

Random = Callable[[], float]  # from 0 up to 1


def delay(attempts: int, interval: timedelta) -> timedelta:
    """The pause after the failed attempt of this number: `interval`, three times as long with each, up to 8 hours."""
    longest = max(MAX_DELAY, interval)
    return interval * min(float(GROWTH ** min(attempts - 1, _MAX_EXPONENT)), longest / interval)


def max_attempts(interval: timedelta, period: timedelta) -> int:
    """How many attempts fit into `period`, at least one; after the last one a delivery is dead."""
    attempts, total = 1, timedelta()
    while attempts < 10_000 and (total := total + delay(attempts, interval)) <= period:
        attempts += 1
    return attempts


def next_attempt(
    now: datetime, attempts: int, interval: timedelta, random: Random, retry_after_seconds: float | None = None
) -> datetime:
    """When to try again after `attempts` failed ones: the delay more or less a fifth, and not before Retry-After."""
    wait = delay(attempts, interval) * _jitter(random)
    if retry_after_seconds is not None:
        wait = max(wait, timedelta(seconds=min(retry_after_seconds, MAX_RETRY_AFTER.total_seconds())))
    return now + wait


def slow_delay(slow_count: int, random: Random) -> timedelta:
    """How long nothing is sent to a subscriber after this many answers in a row that asked for less: 1 s to 5 min."""
    return min(SLOW_BASE * float(2 ** min(slow_count - 1, MAX_SLOW_COUNT)), MAX_SLOW_DELAY) * _jitter(random)


def allowed(next_send_at: datetime | None, now: datetime, rate_per_second: float, at_most: int) -> tuple[int, datetime]:
    """How many may be sent now at `rate_per_second`, and the `next_send_at` to keep when they are.

    The generic cell rate algorithm (ITU-T I.371) with a burst of one second, or of one when the rate is lower.
    """
    step = max(timedelta(seconds=1 / rate_per_second), timedelta.resolution)
    burst = max(timedelta(seconds=1), step)
    start = now if next_send_at is None else max(next_send_at, now)
    count = min(at_most, max(0, int((now + burst - start) / step)))
    return count, start + step * count


def _jitter(random: Random) -> float:
    return 0.8 + 0.4 * random()
