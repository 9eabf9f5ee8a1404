"""How a subscription stands, read at one moment."""

from datetime import datetime
from typing import NamedTuple

from app.subscriptions.models import Subscription

MAX_COUNTED = 10_001


class Overview(NamedTuple):
    """A subscription and its backlog. `pending` and `dead` are counted up to `MAX_COUNTED`."""

    subscription: Subscription
    now: datetime  # by the database's clock
    head: int  # the last position of the ledger
    swept: int  # up to where the sweep has got
    pending: int
    dead: int
    oldest_pending_at: datetime | None

    @property
    def reached(self) -> int:
        """Up to which position deliveries are written."""
        return self.swept if self.subscription.live else self.subscription.cursor

    @property
    def old_secret_until(self) -> datetime | None:
        """How long the old secret still signs along."""
        until = self.subscription.old_secret_until
        return until if until is not None and until > self.now else None
