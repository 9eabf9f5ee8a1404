"""Follows posted events until the service has processed them."""

import asyncio
from collections import deque

from watcher.delivery import Delivery
from watcher.display import Display, Row

FOLLOWED = 50


class Tracker:
    """Asks about the latest `FOLLOWED` events that are not processed yet; older ones are dropped."""

    def __init__(self, delivery: Delivery, display: Display) -> None:
        self._delivery = delivery
        self._display = display
        self._rows: deque[Row] = deque(maxlen=FOLLOWED)

    def follow(self, row: Row) -> None:
        """Show a new event and follow it from now on."""
        self._display.posted(row)
        self._rows.append(row)

    async def run_once(self) -> None:
        """Ask about every followed event once."""
        for row in list(self._rows):
            status = await self._delivery.find_status(row.created)
            if status is None:
                return
            if row.update(status):
                self._display.updated(row)
            if status.state == "processed" and row in self._rows:
                self._rows.remove(row)

    async def run(self, interval_seconds: float) -> None:
        """Repeat `run_once` until cancelled."""
        while True:
            await self.run_once()
            await asyncio.sleep(interval_seconds)
