"""Stores plans of repairs, lets one process at a time apply each, and reads the events that they are about."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Update, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.check_repository import LeaseLost, is_lease_over
from app.consistency.models import REPAIR_SUBJECT, Repair
from app.database.sql import write
from app.database.types import among_ids, among_pairs
from app.errors import NotFound
from app.events.models import SyncEvent
from app.files.models import FileState


class RepairUnknown(NotFound):
    detail = "There is no repair with this id."


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
            raise RepairUnknown
        return found

    async def claim(self, repair_id: UUID, now: datetime, lease: timedelta) -> bool:
        """Take the lease; False when the plan is applied, or another process has a lease."""
        is_free = or_(Repair.due_at.is_(None), is_lease_over(Repair.due_at, now, lease))
        statement = update(Repair).where(Repair.id == repair_id, Repair.results.is_(None), is_free)
        return bool(await write(self._session, statement.values(due_at=now + lease)))

    async def extend(self, repair: Repair, until: datetime) -> None:
        """Let the lease of `repair`, which ends at its `due_at`, end later.

        Raises:
            LeaseLost: another process has taken it.
        """
        if not await write(self._session, _under_lease(repair).values(due_at=until)):
            raise LeaseLost
        repair.due_at = until

    async def release(self, repair: Repair) -> None:
        """Give the lease back, unless another process has taken it."""
        await write(self._session, _under_lease(repair).values(due_at=None))

    async def check_lease(self, repair: Repair, *, for_change: bool = False) -> Repair:
        """The plan as it is now, under the lease of `repair`; `for_change` locks it until the transaction ends.

        Raises:
            LeaseLost: another process has taken the lease.
        """
        current = await self.get(repair.id, for_change=for_change)
        if current.results is not None or current.due_at != repair.due_at:
            raise LeaseLost
        return current

    async def list_compensations(self, keys: Sequence[str]) -> dict[str, int]:
        """The positions of the compensations with these idempotency keys, by key."""
        pairs = among_pairs((SyncEvent.created_by, SyncEvent.idempotency_key), [(REPAIR_SUBJECT, key) for key in keys])
        query = select(SyncEvent.idempotency_key, SyncEvent.position).where(pairs)
        return {key: position for key, position in await self._session.execute(query) if key is not None}

    async def has_later_event(self, file_id: UUID, position: int, but: Collection[str]) -> bool:
        """Whether the file has an event after `position`, processed or not; compensations with the keys `but` aside."""
        is_other = or_(SyncEvent.created_by != REPAIR_SUBJECT, SyncEvent.idempotency_key.not_in(but))
        later = exists().where(SyncEvent.file_id == file_id, SyncEvent.position > position, is_other)
        return bool(await self._session.scalar(select(later)))

    async def list_last_positions(self, file_ids: Collection[UUID]) -> dict[UUID, int]:
        """The position of the last processed event of each of the files that has one."""
        query = select(FileState.file_id, FileState.last_position).where(among_ids(FileState.file_id, file_ids))
        return {file_id: last for file_id, last in await self._session.execute(query)}  # noqa: C416


def _under_lease(repair: Repair) -> Update:
    return update(Repair).where(Repair.id == repair.id, Repair.results.is_(None), Repair.due_at == repair.due_at)
