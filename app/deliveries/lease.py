"""The leases that this process holds: which deliveries it works on, and until when it may."""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from app.database.engine import Database
from app.deliveries.claim_repository import ClaimRepository, LeaseKey


class LeaseKeeper:
    """Extends leases before they end. Deadlines are on the monotonic clock, early rather than late."""

    def __init__(
        self, database: Database, process: str, lease: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._process = process
        self._clock = clock
        self._deadlines: dict[LeaseKey, float] = {}
        self.lease = lease

    def __len__(self) -> int:
        return len(self._deadlines)

    def deadline(self) -> float:
        """When a lease ends that is claimed from now on."""
        return self._clock() + self.lease.total_seconds()

    def add(self, keys: Iterable[LeaseKey], deadline: float) -> None:
        """Hold these leases until `deadline`."""
        self._deadlines |= dict.fromkeys(keys, deadline)

    def holds(self, key: LeaseKey) -> bool:
        """Whether the lease has not ended."""
        return self._clock() < self._deadlines[key]

    def discard(self, keys: Iterable[LeaseKey]) -> None:
        """Hold these leases no longer."""
        for key in keys:
            self._deadlines.pop(key, None)

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Extend every lease that has not ended.

        Raises:
            DatabaseUnavailable: the database cannot serve; the leases keep their deadlines.
        """
        running = [delivery_id for delivery_id, fence in self._deadlines if self.holds((delivery_id, fence))]
        if not running:
            return
        deadline = self.deadline()
        async with self._database.transaction(wait_for_standbys=False) as session:
            extended = await ClaimRepository(session, self._process).extend(running, self.lease)
        self._deadlines |= {key: deadline for key in extended if key in self._deadlines}
