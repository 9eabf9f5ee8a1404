"""What the sweep asks of a capability that reads the ledger."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession


class Handler(Protocol):
    """Reacts to every event exactly once, within the transaction that marks it processed."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Take note of the events at these rising `positions`; they are a `range` when none between them is left out.

        What is done in a few statements over all of them (`among` selects them) never brings them into this process;
        `SweepRepository.list_at` reads them. Runs in a savepoint: an exception undoes what was written, and the batch
        is split until the culprit is alone. Makes no network call, commits nothing and keeps nothing in memory: the
        transaction may yet roll back.
        """
