"""How a subscription stands with its receiver: failing since when, slowed until when. Pure policy."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.deliveries.retry import MAX_RETRY_AFTER, MAX_SLOW_COUNT, slow_delay
from app.subscriptions.models import Outcome


@dataclass(slots=True)
class Standing:
    """One subscription; `slow_count` counts the times in a row that it was slowed, up to `MAX_SLOW_COUNT`."""

    subscription_id: UUID
    url: str
    failing_since: datetime | None
    slow_until: datetime | None
    slow_count: int

    def note(
        self, outcome: Outcome, now: datetime, random: Callable[[], float], retry_after_seconds: float | None
    ) -> None:
        """Take account of one attempt that ended now.

        Many that were under way together slow it once, and what a receiver asks for counts when it is longer. A success
        that was under way meanwhile takes nothing of that back.
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
        """Whether nothing but failures came of it for so long."""
        return self.failing_since is not None and now - self.failing_since >= period
