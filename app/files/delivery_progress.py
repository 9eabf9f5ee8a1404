"""What the files are told of those who are told of their events, whoever knows it."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class SubscriptionProgress(Protocol):
    """How far a subscription is with one file."""

    @property
    def subscription_id(self) -> UUID:
        """Which subscription."""

    @property
    def status(self) -> str:
        """Whether it is `active`, `paused` or `disabled`."""

    @property
    def delivered_position(self) -> int | None:
        """Of the last delivered event before the first pending one."""

    @property
    def pending(self) -> int:
        """How many deliveries wait or are under way."""

    @property
    def dead(self) -> int:
        """How many deliveries used up their attempts."""

    @property
    def behind(self) -> bool:
        """Whether there are events of the file that are no deliveries yet."""


class DeliveryProgress(Protocol):
    """Knows it for all subscriptions."""

    async def list_of_file(self, session: AsyncSession, file_id: UUID) -> Sequence[SubscriptionProgress]:
        """Read it with the session of who asks."""
