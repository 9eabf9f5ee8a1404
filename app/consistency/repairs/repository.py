"""Stores plans of repairs, and lets one process at a time apply each."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.check_repository import is_lease_over
from app.consistency.models import Repair
from app.database.sql import write
from app.errors import NotFound

UNKNOWN_REPAIR = "There is no repair with this id."


class RepairRepository:
    """Plans of repairs."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, repair: Repair) -> None:
        """Add it."""
        self._session.add(repair)
        await self._session.flush()

    async def get(self, repair_id: UUID, *, for_change: bool = False) -> Repair:
        """The plan; `for_change` locks it until the transaction ends.

        Raises:
            NotFound: when there is none.
        """
        query = select(Repair).where(Repair.id == repair_id).execution_options(populate_existing=True)
        if for_change:
            query = query.with_for_update()
        found = await self._session.scalar(query)
        if found is None:
            raise NotFound(UNKNOWN_REPAIR)
        return found

    async def claim(self, repair_id: UUID, now: datetime, lease: timedelta) -> bool:
        """Take the lease; False when the plan is applied, or another process has a lease."""
        is_free = or_(Repair.due_at.is_(None), is_lease_over(Repair.due_at, now, lease))
        statement = update(Repair).where(Repair.id == repair_id, Repair.results.is_(None), is_free)
        return bool(await write(self._session, statement.values(due_at=now + lease)))

    async def extend(self, repair_id: UUID, until: datetime) -> None:
        """Let the lease end later."""
        await write(self._session, update(Repair).where(Repair.id == repair_id).values(due_at=until))

    async def release(self, repair_id: UUID) -> None:
        """Give the lease back."""
        await write(self._session, update(Repair).where(Repair.id == repair_id).values(due_at=None))
