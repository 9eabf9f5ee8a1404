"""Shares out what one process may send at once among its subscriptions. Pure policy."""

from collections import Counter
from uuid import UUID


class Slots:
    """So many deliveries at once, of all subscriptions together; for a subscription that has none there is always one.

    One that hangs therefore never keeps another one from being sent to; and as no one holds more than three quarters,
    those that come later have more than that one.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = max(total * 3 // 4, 1)  # of one subscription
        self._held: Counter[UUID] = Counter()

    @property
    def held(self) -> int:
        """How many are in use."""
        return self._held.total()

    def take(self, subscription_id: UUID, wanted: int, *, contested: bool) -> int:
        """Take at most as many as it may hold, `wanted`, and return how many: half of what is free if `contested`."""
        free = max(self._total - self.held, 0)
        share = (free + 1) // 2 if contested else free
        held = self._held[subscription_id]
        taken = max(min(share, min(wanted, self._share) - held), 0 if held else 1)
        self._held[subscription_id] += taken
        return taken

    def give_back(self, subscription_id: UUID, number: int = 1) -> None:
        """These are free again."""
        self._held[subscription_id] -= number
        if not self._held[subscription_id]:
            del self._held[subscription_id]

    def is_contested(self, subscription_ids: set[UUID]) -> bool:
        """Whether more than one subscription holds some or, being among these, wants some."""
        return len(subscription_ids | set(self._held)) > 1
