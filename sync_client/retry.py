"""When to try a request again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# 408, 425, 429 and every 5xx mean: try again later.
_LATER = frozenset({408, 425, 429})
_SERVER_ERRORS = 500


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff: `attempts` in all, unless `endless`, waits doubling from `base_seconds` to `cap_seconds`.

    `patience_seconds` is the longest wait that the service may request. A service that requests more counts as
    down; with `endless` the request is repeated after that time.
    """

    attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 15.0
    patience_seconds: float = 60.0
    endless: bool = False

    def wait_seconds(self, attempt: int, jitter: float) -> float:
        """The wait after failed attempt `attempt`, from 1; `jitter`, 0 to 1, spreads it over its upper half."""
        # Beyond 2**32 any cap is reached, and a float would overflow.
        longest: float = min(self.cap_seconds, self.base_seconds * 2 ** min(attempt - 1, 32))
        return longest * (1 + jitter) / 2

    def next_wait_seconds(self, attempt: int, jitter: float, asked_seconds: float) -> float | None:
        """The wait after failed attempt `attempt` when the service asked for `asked_seconds`; None to give up."""
        wait = max(self.wait_seconds(attempt, jitter), asked_seconds)
        if self.endless:
            return min(wait, self.patience_seconds)
        return wait if attempt < self.attempts and wait <= self.patience_seconds else None


def is_temporary(status: int) -> bool:
    """Whether the same request may succeed later, judging by the HTTP status of the response."""
    return status in _LATER or status >= _SERVER_ERRORS


def retry_after_seconds(header: str | None, now: datetime) -> float:
    """The seconds of `Retry-After` (RFC 9110 section 10.2.3: seconds or a date); 0 without one."""
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
