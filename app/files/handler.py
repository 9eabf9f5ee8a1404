"""The sweep's first handler: keeps the file states and flags impossible orders of events."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.files.repository import FileRepository


class FileStateHandler:
    """Projects events onto the states of their files."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Update the states of the files of the events at `positions`, and mark the anomalies among them."""
        repository = FileRepository(session)
        await repository.add_events(positions)
        await repository.mark_anomalies(positions)
