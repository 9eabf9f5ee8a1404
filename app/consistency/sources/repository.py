"""Stores sources, and removes deleted ones."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.models import FileCheck, Finding, Source
from app.consistency.sources.request import SourceError
from app.consistency.sources.schemas import DEFAULT_GRACE_SECONDS, SourceKind
from app.database.sql import insert_or_update, write
from app.errors import NotFound

CLOUD_ID = UUID("00000000-0000-7000-8000-00000c10cd00")  # the same on every replica
REMOVED_AT_ONCE = 1000
_ADDING = 0x434F_4E53_4144_4453  # an advisory lock


class SourceUnknown(NotFound):
    detail = "There is no source with this id."


class SourceRepository:
    """Deleted sources are invisible to all but `remove_some`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self) -> None:
        """Let one transaction at a time add sources. SQLite has one writer at a time anyway."""
        if self._session.get_bind().dialect.name == "postgresql":
            await self._session.execute(select(func.pg_advisory_xact_lock(_ADDING)))

    async def add(self, source: Source) -> None:
        """Add it."""
        self._session.add(source)
        await self._session.flush()

    async def announce_cloud(self, url: str, now: datetime) -> None:
        """Let the source `cloud` exist, at `url`."""
        values = {
            "id": CLOUD_ID,
            "name": "cloud",
            "kind": SourceKind.CLOUD,
            "url": url,
            "grace_seconds": DEFAULT_GRACE_SECONDS,
            "enabled": True,
            "created_at": now,
        }
        statement = insert_or_update(self._session, Source).values(values)
        changes = {"url": url, "deleted": False}
        await self._session.execute(statement.on_conflict_do_update(index_elements=[Source.id], set_=changes))

    async def list_all(self) -> Sequence[Source]:
        """All sources, oldest first."""
        return (await self._session.scalars(select(Source).where(~Source.deleted).order_by(Source.id))).all()

    async def has_deleted(self) -> bool:
        """Whether rows of a deleted source may be left."""
        return bool(await self._session.scalar(select(exists().where(Source.deleted))))

    async def get(self, source_id: UUID, *, for_change: bool = False) -> Source:
        """The source; `for_change` locks it until the transaction ends, but not against foreign keys.

        All that write findings of a source lock it, so that a difference becomes one finding.

        Raises:
            NotFound: when there is none.
        """
        query = select(Source).where(Source.id == source_id, ~Source.deleted)
        if for_change:
            query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
        found = await self._session.scalar(query)
        if found is None:
            raise SourceUnknown
        return found

    async def get_enabled(self, source_id: UUID) -> Source:
        """The source, before it is asked for more.

        Raises:
            NotFound: it was deleted.
            SourceError: it was disabled.
        """
        source = await self.get(source_id)
        if not source.enabled:
            raise SourceError("was disabled")
        return source

    async def lock_all(self) -> None:
        """Lock every source, as `get` does one."""
        await self._session.execute(select(Source.id).order_by(Source.id).with_for_update(key_share=True))

    async def remove_some(self) -> bool:
        """Remove rows of a deleted source, at most 1000 of each table; returns whether there may be more."""
        source_id = await self._session.scalar(select(Source.id).where(Source.deleted).limit(1))
        if source_id is None:
            return False
        files = select(FileCheck.file_id).where(FileCheck.source_id == source_id).limit(REMOVED_AT_ONCE)
        findings = select(Finding.id).where(Finding.source_id == source_id).limit(REMOVED_AT_ONCE)
        for statement in (
            delete(FileCheck).where(FileCheck.source_id == source_id, FileCheck.file_id.in_(files)),
            delete(Finding).where(Finding.id.in_(findings)),
        ):
            if await write(self._session, statement):
                return True
        await write(self._session, delete(Source).where(Source.id == source_id))
        return True
