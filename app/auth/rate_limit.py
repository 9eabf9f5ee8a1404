"""Limits the rate of requests of each token subject in one process."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from app.config import Settings
from app.errors import ProblemError

MAX_SUBJECTS = 10_000
_NANOSECONDS = 1_000_000_000


class RateLimited(ProblemError):
    """429; a request succeeds again after `Retry-After` seconds."""

    status, code, detail = 429, "rate-limited", "Too many requests with tokens of this subject; slow down."

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(headers={"Retry-After": str(math.ceil(wait_seconds))})


class RateLimiter:
    """Lets a subject send `burst` requests at once, and `rate_per_second` from then on.

    This is the generic cell rate algorithm (ITU-T I.371, annex A): for each subject one time is kept, the end of its
    requests had they come at the even rate. Times are whole nanoseconds, so that a burst is exact.
    A subject is kept until it has its whole burst again. Beyond `MAX_SUBJECTS` the one that was idle for the longest is
    dropped and has its whole burst again. `clock` returns seconds.
    """

    def __init__(self, rate_per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = max(1, round(_NANOSECONDS / rate_per_second))
        self._tolerance = burst * self._interval
        self._clock = clock
        self._even_times: OrderedDict[str, int] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> "RateLimiter | None":
        """The limiter that the settings ask for; None without a limit."""
        rate = settings.rate_limit_per_second
        return cls(rate, settings.rate_limit_burst) if rate else None

    def take(self, subject: str) -> float | None:
        """Count a request of `subject`. One beyond the rate is not counted; the seconds to wait are returned."""
        now = round(self._clock() * _NANOSECONDS)
        even_time = max(self._even_times.get(subject, now), now) + self._interval
        excess = even_time - now - self._tolerance
        if excess > 0:
            return excess / _NANOSECONDS
        self._even_times[subject] = even_time
        self._even_times.move_to_end(subject)
        self._drop_idle(now)
        return None

    def _drop_idle(self, now: int) -> None:
        """Drop the subject that was idle for the longest if it has its whole burst again, or if there are too many."""
        subject = next(iter(self._even_times))
        if self._even_times[subject] <= now or len(self._even_times) > MAX_SUBJECTS:
            del self._even_times[subject]
