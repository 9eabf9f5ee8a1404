"""Notes which files of a source are to be looked at, claims the looks that are due, and counts what is open and due."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, exists, func, literal, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.finding_repository import MIN_WAIT
from app.consistency.look import Clock, database_clock
from app.consistency.models import MAX_GRACE, FileCheck, Finding, Source
from app.database.types import UtcDateTime, after_seconds, among, greatest_of, statement_now
from app.events.models import SyncEvent

MAX_LEASE = timedelta(hours=2)
_IS_OPEN = Finding.state == literal_column("'open'")


class LookRepository:
    """The looks at single files."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def has_sources(self) -> bool:
        """Whether any source is asked."""
        return bool(await self._session.scalar(select(exists().where(Source.enabled, ~Source.deleted))))

    async def add_events(self, positions: Sequence[int], now: datetime) -> None:
        """Make a look due for the file of each event and each enabled source, a grace period after `now`."""
        wait_seconds = greatest_of(Source.grace_seconds, int(MIN_WAIT.total_seconds()))
        # In the order in which looks are recorded: transactions that lock the same rows wait for each other in turn.
        looks = (
            select(Source.id, SyncEvent.file_id, after_seconds(literal(now, UtcDateTime()), wait_seconds))
            .join(Source, Source.enabled & ~Source.deleted)
            .select_from(SyncEvent)
            .where(among(SyncEvent.position, positions))
            .group_by(Source.id, Source.grace_seconds, SyncEvent.file_id)
            .order_by(Source.id, SyncEvent.file_id)
        )
        dialect = postgresql if self._session.get_bind().dialect.name == "postgresql" else sqlite
        statement = dialect.insert(FileCheck).from_select(["source_id", "file_id", "due_at"], looks)
        key = [FileCheck.source_id, FileCheck.file_id]
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=key, set_={"due_at": statement.excluded.due_at})
        )

    async def list_due_sources(self, now: datetime) -> Sequence[UUID]:
        """Sources with files whose look is due; takes no lock."""
        due = exists().where(FileCheck.source_id == Source.id, _look_is_due(now))
        return (await self._session.scalars(select(Source.id).where(Source.enabled, ~Source.deleted, due))).all()

    async def claim(self, source_id: UUID, now: datetime, until: datetime, limit: int) -> Sequence[UUID]:
        """Files of a source whose look is due; they are due again at `until`, when the lease ends."""
        query = (
            select(FileCheck.file_id)
            .where(FileCheck.source_id == source_id, _look_is_due(now))
            .order_by(FileCheck.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = (await self._session.scalars(query)).all()
        await self._session.execute(
            update(FileCheck)
            .where(FileCheck.source_id == source_id, FileCheck.file_id.in_(claimed))
            .values(due_at=until)
            .execution_options(synchronize_session=False)
        )
        return claimed

    async def renew(
        self, source_id: UUID, file_ids: Sequence[UUID], before: Sequence[datetime], until: datetime
    ) -> None:
        """Extend the leases that end at one of `before`, not those of files with a later event."""
        # In the order in which looks are recorded.
        rows = select(FileCheck.file_id).where(
            FileCheck.source_id == source_id, FileCheck.file_id.in_(file_ids), FileCheck.due_at.in_(before)
        )
        leased = (await self._session.scalars(rows.order_by(FileCheck.file_id).with_for_update())).all()
        await self._session.execute(
            update(FileCheck)
            .where(FileCheck.source_id == source_id, FileCheck.file_id.in_(leased))
            .values(due_at=until)
            .execution_options(synchronize_session=False)
        )

    async def list_of_file(self, file_id: UUID, source_ids: Collection[UUID]) -> Mapping[UUID, FileCheck]:
        """The last look at a file, by source."""
        query = select(FileCheck).where(FileCheck.file_id == file_id, FileCheck.source_id.in_(source_ids))
        return {one.source_id: one for one in await self._session.scalars(query)}


def count_due_looks(most: int) -> ScalarSelect[int]:
    """Files whose look is due, of enabled sources, counted up to `most`."""
    rows = (
        select(FileCheck.file_id)
        .join(Source, Source.id == FileCheck.source_id)
        .where(Source.enabled, ~Source.deleted, FileCheck.due_at <= statement_now())
        .limit(most)
        .subquery()
    )
    return select(func.count()).select_from(rows).scalar_subquery()


def select_open_findings(most: int) -> Select[str, str, int]:
    """Open findings by kind and source, counted up to `most` in all."""
    rows = select(Finding.kind, Finding.source_id).where(_IS_OPEN).limit(most).subquery()
    return (
        select(rows.c.kind, rows.c.source_id, func.count())
        .join(Source, Source.id == rows.c.source_id)
        .where(~Source.deleted)
        .group_by(rows.c.kind, rows.c.source_id)
    )


def oldest_open_finding() -> ScalarSelect[datetime]:
    """When the first of the open findings was seen: their ids rise with the time."""
    return select(Finding.first_seen_at).where(_IS_OPEN).order_by(Finding.id).limit(1).scalar_subquery()


# A due time too far in the future was set by a clock that was ahead: it is due now.
def _look_is_due(now: datetime) -> ColumnElement[bool]:
    return or_(FileCheck.due_at <= now, FileCheck.due_at > now + MAX_GRACE + MAX_LEASE)


class FileCheckHandler:
    """The sweep's third handler: the file of every processed event is looked at, a grace period after the last."""

    def __init__(self, clock: Clock = database_clock) -> None:
        self._clock = clock

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        """Note the files of the events at `positions` for every enabled source."""
        repository = LookRepository(session)
        if await repository.has_sources():
            await repository.add_events(positions, await self._clock(session))
