"""The protocol of the sweep's handlers."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession


class Handler(Protocol):
    """Reacts to every event exactly once, within the transaction that marks it processed."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Process the events at `positions`, which rise; they are a `range` when they are consecutive.

        Work on all of them in a few statements (`among` selects them), or read them with `SweepRepository.list_at`.
        Runs in a savepoint: an exception undoes what was written, and the batch is split until the failing event is
        alone. Makes no network call, commits nothing and keeps nothing in memory, since the transaction may still roll
        back.
        """
