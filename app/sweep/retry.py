"""When an event that failed gets its next attempt. Pure policy."""

from datetime import datetime, timedelta

MAX_DELAY = timedelta(minutes=5)


def next_attempt(now: datetime, failed_attempts: int, interval: timedelta) -> datetime:
    """One sweep interval after the first failure, doubling with each further one, up to five minutes."""
    return now + min(interval * float(2 ** min(failed_attempts - 1, 30)), MAX_DELAY)
