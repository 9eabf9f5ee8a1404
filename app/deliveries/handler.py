"""The sweep's second handler: writes who is to be told of an event."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.deliveries.fan_out import FanOutRepository


class FanOutHandler:
    """Turns events into deliveries, in the transaction that processes them."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Add a delivery of each of the events at `positions` to each subscription that is told by the sweep."""
        await FanOutRepository(session).add_swept(positions)
