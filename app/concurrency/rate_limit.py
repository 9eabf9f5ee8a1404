"""Limits of rates: the generic cell rate algorithm (ITU-T I.371, annex A), and a limit for each subject of tokens."""

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_SUBJECTS = 10_000
_NANOSECONDS = 1_000_000_000


def allow(even_time: int | None, now: int, step: int, burst: int, at_most: int = 1) -> tuple[int, int]:
    """The number, at most `at_most`, of requests that may go now, and the `even_time` to store after them.

    One may go every `step`, and `burst / step` at once.

    All are times in one integer unit. `even_time`: when the earlier requests would end at the even rate; None without
    any. A value beyond `now + burst + step` was written before the clock was set back, and is ignored.
    """
    start = now if even_time is None or even_time > now + burst + step else max(even_time, now)
    count = min(at_most, max(0, (now + burst - start) // step))
    return count, start + step * count


class RateLimiter:
    """Lets a subject send `burst` requests together, and `rate_per_second` from then on.

    Times are whole nanoseconds, so that a burst is exact. A subject is kept until it has its whole burst again. Beyond
    `MAX_SUBJECTS` the one that was idle for the longest is dropped and has its whole burst again. `clock` returns
    seconds.
    """

    def __init__(self, rate_per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = max(1, round(_NANOSECONDS / rate_per_second))
        self._tolerance = burst * self._interval
        self._clock = clock
        self._even_times: OrderedDict[str, int] = OrderedDict()

    def take(self, subject: str) -> float | None:
        """Count a request of `subject`. One beyond the rate is not counted; the seconds to wait are returned."""
        now = round(self._clock() * _NANOSECONDS)
        count, even_time = allow(self._even_times.get(subject), now, self._interval, self._tolerance)
        if not count:
            return (even_time + self._interval - now - self._tolerance) / _NANOSECONDS
        self._even_times[subject] = even_time
        self._even_times.move_to_end(subject)
        self._drop_idle(now)
        return None

    def _drop_idle(self, now: int) -> None:
        """Drop the subject that was idle for the longest if it has its whole burst again, or if there are too many."""
        subject = next(iter(self._even_times))
        if self._even_times[subject] <= now or len(self._even_times) > MAX_SUBJECTS:
            del self._even_times[subject]
