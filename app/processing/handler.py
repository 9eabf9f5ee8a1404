"""What the sweep asks of a capability that reads the ledger."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class SweptEvent(NamedTuple):
    """One event of a batch; `attempts` counts the failed ones."""

    id: UUID
    position: int
    file_id: UUID
    event_type: str
    attempts: int


class Handler(Protocol):
    """Reacts to every event exactly once, within the transaction that marks it processed."""

    async def handle(self, session: AsyncSession, events: Sequence[SweptEvent]) -> None:
        """Take note of `events`, which come by rising position.

        Runs in a savepoint: an exception undoes what it wrote, and the batch is split until the culprit is alone.
        It makes no network call, commits nothing and keeps nothing in memory: the transaction may yet roll back.
        """
