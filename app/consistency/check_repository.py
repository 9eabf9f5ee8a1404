"""Stores checks, claims them by lease, and keeps what they have seen."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    and_,
    delete,
    exists,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from app.consistency.models import Check, CheckState, Difference, Source
from app.database.sql import write
from app.database.types import among_ids
from app.errors import Conflict, FieldError, NotFound, Unprocessable

REMOVED_AT_ONCE = 1000


class CheckUnknown(NotFound):
    detail = "There is no check with this id."


class CheckEnded(Conflict):
    """409: only a check that still asks the source can be cancelled."""

    code, detail = "check-ended", "The check has ended, or its differences are being applied to the findings."


class CheckRunning(Conflict):
    """409: one check by inventory of a source runs at a time."""

    code, detail = "check-running", "A check of the whole source is running; wait for its end, or cancel it."


class SourceDisabled(Conflict):
    code, detail = "source-disabled", "The source is disabled; enable it first."


class NotDeep(Unprocessable):
    """422 at `deep`."""

    def __init__(self) -> None:
        error = FieldError(loc=["body", "deep"], msg="The source has no blocks to read", type="not_deep")
        super().__init__("Only the blocks of the source `cloud` can be read.", errors=[error])


class LeaseLost(Exception):
    """The check was cancelled, or another process has claimed the check or the repair."""


class CheckRepository:
    """Checks. `fence` is that of the claim; a change with an older one raises `LeaseLost`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(
        self,
        source_id: UUID,
        now: datetime,
        file_ids: Collection[UUID] | None = None,
        *,
        accept_shrink: bool = False,
        deep: str | None = None,
    ) -> Check:
        """Add a check by inventory, or of named files; the source must be locked.

        Raises:
            CheckRunning: 409, another check by inventory of the source is running.
        """
        is_running = exists().where(
            Check.source_id == source_id, Check.state == CheckState.RUNNING, Check.file_ids.is_(None)
        )
        if file_ids is None and await self._session.scalar(select(is_running)):
            raise CheckRunning
        named = None if file_ids is None else sorted(set(map(str, file_ids)))
        check = Check(
            id=uuid7(),
            source_id=source_id,
            state=CheckState.RUNNING,
            file_ids=named,
            total=None if named is None else len(named),
            accept_shrink=accept_shrink,
            deep=deep,
            started_at=now,
            due_at=now,
            counts={},
        )
        self._session.add(check)
        await self._session.flush()
        return check

    async def get(self, check_id: UUID) -> Check:
        """The check; raises `NotFound` when there is none."""
        visible = Check.source_id.in_(select(Source.id).where(~Source.deleted))
        query = select(Check).where(Check.id == check_id, visible).execution_options(populate_existing=True)
        found = await self._session.scalar(query)
        if found is None:
            raise CheckUnknown
        return found

    async def list_newest(
        self, source_id: UUID | None, *, limit: int, offset: int = 0, before: UUID | None = None
    ) -> Sequence[Check]:
        """Checks, newest first, of those older than the check `before`."""
        query = select(Check).where(Check.source_id.in_(select(Source.id).where(~Source.deleted)))
        if source_id is not None:
            query = query.where(Check.source_id == source_id)
        if before is not None:
            query = query.where(Check.id < before)
        return (await self._session.scalars(query.order_by(Check.id.desc()).limit(limit).offset(offset))).all()

    async def find_last(self, source_id: UUID, *states: CheckState) -> Check | None:
        """The last check by inventory of a source, in one of `states` if there are any."""
        query = select(Check).where(Check.source_id == source_id, Check.file_ids.is_(None))
        if states:
            query = query.where(Check.state.in_(states))
        return await self._session.scalar(query.order_by(Check.id.desc()).limit(1))

    async def has_due(self, now: datetime, lease: timedelta) -> bool:
        """Whether a running check has no lease; takes no lock."""
        return bool(await self._session.scalar(select(exists().where(_is_due(now, lease)))))

    async def claim(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Check]:
        """Running checks without a lease, now with one of ours."""
        query = (
            select(Check)
            .where(_is_due(now, lease))
            .order_by(Check.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = (await self._session.scalars(query)).all()
        for check in claimed:
            check.due_at, check.fence = now + lease, check.fence + 1
        await self._session.flush()
        return claimed

    async def change(self, check_id: UUID, fence: int, **values: Any) -> None:
        """Set `values` of a running check; raises `LeaseLost` if another process has it, or the check was cancelled."""
        is_ours = Check.id == check_id, Check.fence == fence, Check.state == CheckState.RUNNING
        if not await write(self._session, update(Check).where(*is_ours).values(values)):
            raise LeaseLost

    async def cancel(self, check_id: UUID, now: datetime) -> Check:
        """Cancel a running check, unless its differences are being applied already.

        Raises:
            NotFound: 404.
            CheckEnded: 409.
        """
        await self.get(check_id)
        if not await self._cancel(Check.id == check_id, ~Check.is_listed, now=now):
            raise CheckEnded
        return await self.get(check_id)

    async def cancel_all(self, source_id: UUID, now: datetime) -> None:
        """Cancel every running check of a source."""
        await self._cancel(Check.source_id == source_id, now=now)

    async def _cancel(self, *conditions: ColumnElement[bool], now: datetime) -> int:
        running = update(Check).where(Check.state == CheckState.RUNNING, *conditions)
        values = {"state": CheckState.CANCELLED, "ended_at": now, "due_at": None, "fence": Check.fence + 1}
        return await write(self._session, running.values(values))

    async def stage(self, check_id: UUID, differences: Sequence[Difference]) -> None:
        """Keep what an inventory saw until it is complete."""
        for one in differences:
            one.check_id = check_id
        self._session.add_all(differences)
        await self._session.flush()

    async def list_staged_files(self, check_id: UUID, file_ids: Collection[UUID]) -> set[UUID]:
        """Those of the files of which a check has kept something."""
        query = select(Difference.file_id).where(
            Difference.check_id == check_id, among_ids(Difference.file_id, file_ids)
        )
        return set((await self._session.scalars(query)).all())

    async def take_staged(self, check_id: UUID, limit: int) -> Sequence[Difference]:
        """Remove and return some of the kept differences, by file."""
        query = select(Difference).where(Difference.check_id == check_id).order_by(Difference.file_id, Difference.kind)
        taken = (await self._session.scalars(query.limit(limit))).all()
        if taken:
            until = tuple_(Difference.file_id, Difference.kind) <= (taken[-1].file_id, taken[-1].kind)
            await write(self._session, delete(Difference).where(Difference.check_id == check_id, until))
        return taken

    async def has_leftovers(self) -> bool:
        """Whether ended checks have left differences; takes no lock."""
        return await self._find_leftover() is not None

    async def remove_leftovers(self) -> bool:
        """Remove differences that ended checks have left, at most 1000; returns whether there were any."""
        if (check_id := await self._find_leftover()) is None:
            return False
        is_left = Difference.check_id == check_id
        some = select(Difference.file_id, Difference.kind).where(is_left).limit(REMOVED_AT_ONCE)
        key = tuple_(Difference.file_id, Difference.kind)
        return bool(await write(self._session, delete(Difference).where(is_left, key.in_(some))))

    async def _find_leftover(self) -> UUID | None:
        """An ended check that has left differences.

        One index seek finds each check that has differences: to read those of a running one would take too long.
        """
        first = select(Difference.check_id).order_by(Difference.check_id).limit(1)
        kept = select(first.scalar_subquery().label("check_id")).cte("kept", recursive=True)
        following = first.where(Difference.check_id > kept.c.check_id).correlate(kept).scalar_subquery()
        kept = kept.union_all(select(following).select_from(kept).where(kept.c.check_id.is_not(None)))
        has_ended = exists().where(Check.id == kept.c.check_id, Check.state != CheckState.RUNNING)
        return await self._session.scalar(select(kept.c.check_id).where(has_ended).limit(1))


def is_lease_over(
    ends_at: SQLColumnExpression[datetime | None], now: datetime, lease: timedelta
) -> ColumnElement[bool]:
    """Whether a lease has ended, or was taken by a clock that was ahead.

    Twice the length, because another process may take its lease after `now` was read.
    """
    return or_(ends_at <= now, ends_at > now + 2 * lease)


def _is_due(now: datetime, lease: timedelta) -> ColumnElement[bool]:
    is_running = Check.state == literal_column("'running'")  # as in the partial index
    return and_(is_running, is_lease_over(Check.due_at, now, lease))
