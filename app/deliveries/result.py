"""What came of one claimed delivery."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.deliveries.claim_repository import ClaimedDelivery
from app.outbound.response import Answer
from app.subscriptions.models import Outcome


class Result(NamedTuple):
    """An attempt at `url` that has ended; `started_at` is by this process's clock."""

    subscription_id: UUID
    url: str
    delivery: ClaimedDelivery
    started_at: datetime
    answer: Answer
    outcome: Outcome
