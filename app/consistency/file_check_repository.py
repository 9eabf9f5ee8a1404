"""Stores the last check of each file of each source, and claims the file checks that are due."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, case, exists, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.models import MAX_GRACE, FileCheck, Source, Verdict
from app.database.sql import count_up_to, insert_or_update, read_now, write
from app.database.types import UtcDateTime, after_seconds, among, among_ids, greatest_of, statement_now
from app.events.models import SyncEvent

MAX_LEASE = timedelta(hours=2)
MIN_WAIT = timedelta(seconds=1)  # before a file is checked again
Clock = Callable[[AsyncSession], Awaitable[datetime]]  # of all due times, leases and grace periods


class FileCheckRepository:
    """The checks of single files."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def has_sources(self) -> bool:
        """Whether any source is asked."""
        return bool(await self._session.scalar(select(exists().where(Source.enabled, ~Source.deleted))))

    async def add_events(self, positions: Sequence[int], now: datetime) -> None:
        """Make a file check due for the file of each event and each enabled source, a grace period after `now`."""
        wait_seconds = greatest_of(Source.grace_seconds, int(MIN_WAIT.total_seconds()))
        # In the order in which file checks are recorded: transactions that lock the same rows wait in turn.
        rows = (
            select(Source.id, SyncEvent.file_id, after_seconds(literal(now, UtcDateTime()), wait_seconds))
            .join(Source, Source.enabled & ~Source.deleted)
            .select_from(SyncEvent)
            .where(among(SyncEvent.position, positions))
            .group_by(Source.id, Source.grace_seconds, SyncEvent.file_id)
            .order_by(Source.id, SyncEvent.file_id)
        )
        statement = insert_or_update(self._session, FileCheck).from_select(["source_id", "file_id", "due_at"], rows)
        key = [FileCheck.source_id, FileCheck.file_id]
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=key, set_={"due_at": statement.excluded.due_at})
        )

    async def list_due_sources(self, now: datetime) -> Sequence[UUID]:
        """Sources with files whose check is due; takes no lock."""
        due = exists().where(FileCheck.source_id == Source.id, _is_due(now))
        return (await self._session.scalars(select(Source.id).where(Source.enabled, ~Source.deleted, due))).all()

    async def claim(self, source_id: UUID, now: datetime, until: datetime, limit: int) -> Sequence[UUID]:
        """Files of a source whose check is due; they are due again at `until`, when the lease ends."""
        query = (
            select(FileCheck.file_id)
            .where(FileCheck.source_id == source_id, _is_due(now))
            .order_by(FileCheck.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = (await self._session.scalars(query)).all()
        leased = update(FileCheck).where(FileCheck.source_id == source_id, FileCheck.file_id.in_(claimed))
        await write(self._session, leased.values(due_at=until))
        return claimed

    async def renew(
        self, source_id: UUID, file_ids: Sequence[UUID], before: Sequence[datetime], until: datetime
    ) -> None:
        """Extend the leases that end at one of `before`, not those of files with a later event."""
        # In the order in which file checks are recorded.
        rows = select(FileCheck.file_id).where(
            FileCheck.source_id == source_id, FileCheck.file_id.in_(file_ids), FileCheck.due_at.in_(before)
        )
        leased = (await self._session.scalars(rows.order_by(FileCheck.file_id).with_for_update())).all()
        statement = update(FileCheck).where(FileCheck.source_id == source_id, FileCheck.file_id.in_(leased))
        await write(self._session, statement.values(due_at=until))

    async def list_of_file(self, file_id: UUID, source_ids: Collection[UUID]) -> Mapping[UUID, FileCheck]:
        """The last check of a file, by source."""
        query = select(FileCheck).where(FileCheck.file_id == file_id, FileCheck.source_id.in_(source_ids))
        return {one.source_id: one for one in await self._session.scalars(query)}

    async def compared_at(self, source_id: UUID, file_ids: Collection[UUID]) -> dict[UUID, datetime]:
        """When the last check of each of the files began, if it compared the file."""
        query = select(FileCheck.file_id, FileCheck.seen_at).where(
            FileCheck.source_id == source_id,
            FileCheck.verdict.in_([Verdict.CONSISTENT, Verdict.INCONSISTENT]),
            among_ids(FileCheck.file_id, file_ids),
        )
        return {file_id: seen_at for file_id, seen_at in await self._session.execute(query) if seen_at is not None}

    async def add(self, rows: Sequence[Mapping[str, Any]], claimed_until: Collection[datetime] = ()) -> None:
        """Note the results of file checks, sorted by file. What a later file check has noted stays.

        A file check that is due stays due, unless one of `claimed_until` is the end of its lease.
        """
        if not rows:
            return
        statement = insert_or_update(self._session, FileCheck).values(rows)
        new, old = statement.excluded, FileCheck
        due_at: ColumnElement[Any] = func.coalesce(old.due_at, new.due_at)
        if claimed_until:
            due_at = case((old.due_at.in_(claimed_until), new.due_at), else_=due_at)
        is_newer = or_(old.seen_at.is_(None), new.seen_at >= old.seen_at)
        values = {
            name: case((is_newer, func.coalesce(new[name], getattr(old, name))), else_=getattr(old, name))
            for name in ("verdict", "seen_at", "position")
        }
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[FileCheck.source_id, FileCheck.file_id], set_={"due_at": due_at, **values}
            )
        )


def count_due_file_checks(most: int) -> ScalarSelect[int]:
    """Files whose check is due, of enabled sources, counted up to `most`."""
    rows = (
        select(FileCheck.file_id)
        .join(Source, Source.id == FileCheck.source_id)
        .where(Source.enabled, ~Source.deleted, FileCheck.due_at <= statement_now())
    )
    return count_up_to(most, rows)


# A due time too far in the future was set by a clock that was ahead: it is due now.
def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(FileCheck.due_at <= now, FileCheck.due_at > now + MAX_GRACE + MAX_LEASE)


class FileCheckHandler:
    """The sweep's third handler: the file of every processed event is checked, a grace period after the last."""

    def __init__(self, clock: Clock = read_now) -> None:
        self._clock = clock

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Note the files of the events at `positions` for every enabled source."""
        repository = FileCheckRepository(session)
        if await repository.has_sources():
            await repository.add_events(positions, await self._clock(session))
