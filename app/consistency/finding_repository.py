"""Stores findings: what checks have seen, and what operators accept."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from app.consistency.comparison import Evidence, Expected, Facts
from app.consistency.expected_repository import within
from app.consistency.file_check_repository import MIN_WAIT, FileCheckRepository
from app.consistency.models import Difference, Finding, FindingState, Kind, Source, Verdict
from app.consistency.schemas import Filter
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.schemas import SourceKind
from app.database.sql import write
from app.database.types import among_ids
from app.errors import Conflict, NotFound, OtherCount

ACCEPTED_AT_ONCE = 10_000
_IS_ACTIVE = Finding.state != literal_column("'resolved'")  # as in the partial index, which a parameter would not match
_IS_OPEN = Finding.state == literal_column("'open'")


class FindingUnknown(NotFound):
    detail = "There is no finding with this id."


class NotAcceptable(Conflict):
    """409: only a suspected or open finding can be accepted."""

    code, detail = "finding-not-acceptable", "Only suspected and open findings can be accepted."


class FileResult(NamedTuple):
    """The result of a check of one file. `differences` and `expected` are None unless the file was compared."""

    file_id: UUID
    verdict: Verdict
    position: int | None  # of the file's last processed event; None when the source could not be asked
    differences: Mapping[Kind, Evidence] | None = None
    reason: str | None = None  # why the source could not be asked
    is_visible: bool = True  # to the token; a file that is not is checked again after its next event alone
    expected: Expected | None = None
    found: Facts | None = None  # None: the source does not hold the file


class FindingRepository:
    """Findings of sources that are not deleted. Calls that write must hold the lock of the source."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_newest(
        self, finding_filter: Filter, *, limit: int, offset: int = 0, before: UUID | None = None
    ) -> Sequence[Finding]:
        """Findings, newest first, of those older than the finding `before`."""
        query = select(Finding).where(*_conditions(finding_filter))
        if before is not None:
            query = query.where(Finding.id < before)
        return (await self._session.scalars(query.order_by(Finding.id.desc()).limit(limit).offset(offset))).all()

    async def list_active(self, source_id: UUID, file_ids: Collection[UUID]) -> dict[UUID, dict[str, Finding]]:
        """The findings of the files that are not resolved, by file and kind."""
        query = select(Finding).where(
            Finding.source_id == source_id,
            _IS_ACTIVE,
            among_ids(Finding.file_id, file_ids),
        )
        active: defaultdict[UUID, dict[str, Finding]] = defaultdict(dict)
        for finding in await self._session.scalars(query):
            active[finding.file_id][finding.kind] = finding
        return active

    async def list_active_file_ids(
        self, source_id: UUID, after: UUID | None, through: UUID | None, limit: int
    ) -> Sequence[UUID]:
        """Files with findings that are not resolved, by rising id, after `after` and up to `through`."""
        query = select(Finding.file_id).where(
            Finding.source_id == source_id, _IS_ACTIVE, *within(Finding.file_id, after, through)
        )
        return (await self._session.scalars(query.distinct().order_by(Finding.file_id).limit(limit))).all()

    async def accept(self, finding_id: UUID, reason: str) -> Finding:
        """Accept a suspected or open finding.

        Raises:
            NotFound: 404.
            NotAcceptable: 409.
        """
        await SourceRepository(self._session).lock_all()
        is_accepted = await self._accept([Finding.id == finding_id, _visible()], reason)
        finding = await self._session.scalar(select(Finding).where(Finding.id == finding_id, _visible()))
        if finding is None:
            raise FindingUnknown
        if not is_accepted:
            raise NotAcceptable
        return finding

    async def accept_all(self, finding_filter: Filter, expected: int, reason: str) -> None:
        """Accept the suspected and open findings that match, of which there must be `expected`.

        Raises:
            OtherCount: 409; the transaction has to be rolled back.
        """
        await SourceRepository(self._session).lock_all()
        acceptable = [Finding.state.in_([FindingState.SUSPECTED, FindingState.OPEN]), *_conditions(finding_filter)]
        found = (await self._session.execute(select(func.count()).where(*acceptable))).scalar_one()
        if found != expected:
            raise OtherCount(f"{found} suspected or open findings")
        last: UUID | None = UUID(int=0)
        while last is not None:  # one statement for all would meet the limit of a statement's time
            step = (
                select(Finding.id).where(Finding.id > last).order_by(Finding.id).offset(ACCEPTED_AT_ONCE - 1).limit(1)
            )
            until = await self._session.scalar(step)
            ids = [Finding.id > last] if until is None else [Finding.id > last, Finding.id <= until]
            await self._accept([*ids, *_conditions(finding_filter)], reason)
            last = until

    async def _accept(self, conditions: list[ColumnElement[bool]], reason: str) -> int:
        statement = update(Finding).where(Finding.state.in_([FindingState.SUSPECTED, FindingState.OPEN]), *conditions)
        return await write(self._session, statement.values(state=FindingState.ACCEPTED, reason=reason))

    async def list_by_ids(self, finding_ids: Collection[UUID]) -> Sequence[Finding]:
        """Those of the findings that there are."""
        query = select(Finding).where(_visible(), among_ids(Finding.id, finding_ids))
        return (await self._session.scalars(query)).all()

    async def record_file_checks(
        self, source: Source, seen: Sequence[FileResult], now: datetime, claimed_until: Collection[datetime] = ()
    ) -> None:
        """Bring the findings of these files up to date, and note when each is checked again.

        `now` is the time just before the source was asked: what a later file check has recorded meanwhile stays.
        `claimed_until` are the `due_at` that a claim may have given them; a file check that is due otherwise stays due.
        """
        grace = timedelta(seconds=source.grace_seconds)
        file_ids = [one.file_id for one in seen]
        file_checks = FileCheckRepository(self._session)
        active = await self.list_active(source.id, file_ids)
        compared_at = await file_checks.compared_at(source.id, file_ids)
        for one in seen:
            if one.differences is not None:
                self._follow(source, one, active[one.file_id], now, compared_at.get(one.file_id))
        rows = [
            {
                "source_id": source.id,
                "file_id": one.file_id,
                "due_at": _next_check(one, active[one.file_id].values(), now, grace),
                "verdict": one.verdict,
                "seen_at": now,
                "position": one.position,
            }
            for one in sorted(seen, key=lambda one: one.file_id)
        ]
        await self._session.flush()
        await file_checks.add(rows, claimed_until)

    async def apply_staged(self, source: Source, staged: Sequence[Difference]) -> None:
        """Bring the findings up to date with what a complete inventory saw; it opens none by itself."""
        grace = max(timedelta(seconds=source.grace_seconds), MIN_WAIT)
        file_ids = {one.file_id for one in staged}
        file_checks = FileCheckRepository(self._session)
        active = await self.list_active(source.id, file_ids)
        compared_at = await file_checks.compared_at(source.id, file_ids)
        notes: dict[UUID, dict[str, Any]] = {}
        for one in staged:
            note = {"source_id": source.id, "file_id": one.file_id, "due_at": None, "verdict": None, "seen_at": None}
            known = active[one.file_id].get(one.kind)
            if one.evidence is None:
                if known is not None and known.last_seen_at < one.seen_at:
                    known.state, known.resolved_at = FindingState.RESOLVED, one.seen_at
                    notes.setdefault(one.file_id, {**note, "verdict": Verdict.CONSISTENT, "seen_at": one.seen_at})
            elif known is not None:
                _confirm(known, one.evidence, one.seen_at)
            elif not _knows_better(source, one.kind, compared_at.get(one.file_id), one.seen_at):
                self._session.add(_suspect(source.id, one.file_id, one.kind, one.evidence, one.seen_at))
                notes[one.file_id] = {**note, "due_at": one.seen_at + grace}
        await self._session.flush()
        await file_checks.add([{**notes[file_id], "position": None} for file_id in sorted(notes)])

    def _follow(
        self, source: Source, seen: FileResult, active: dict[str, Finding], now: datetime, compared_at: datetime | None
    ) -> None:
        differences, grace = seen.differences or {}, timedelta(seconds=source.grace_seconds)
        for kind, evidence in differences.items():
            finding = active.get(kind)
            if finding is not None:
                _confirm(finding, evidence, now)
                if finding.state == FindingState.SUSPECTED and now >= finding.first_seen_at + grace:
                    finding.state = FindingState.OPEN
            elif not _knows_better(source, kind, compared_at, now):
                active[kind] = _suspect(source.id, seen.file_id, kind, evidence, now)
                self._session.add(active[kind])
        for finding in [one for kind, one in active.items() if kind not in differences and one.last_seen_at <= now]:
            finding.state, finding.resolved_at = FindingState.RESOLVED, now


def _suspect(source_id: UUID, file_id: UUID, kind: str, evidence: Evidence, now: datetime) -> Finding:
    return Finding(
        id=uuid7(),
        source_id=source_id,
        file_id=file_id,
        kind=kind,
        state=FindingState.SUSPECTED,
        evidence=evidence,
        first_seen_at=now,
        last_seen_at=now,
    )


def _confirm(finding: Finding, evidence: Evidence, seen_at: datetime) -> None:
    if seen_at >= finding.last_seen_at:
        finding.evidence, finding.last_seen_at = evidence, seen_at


def _knows_better(source: Source, kind: str, compared_at: datetime | None, seen_at: datetime) -> bool:
    """Whether a later file check has compared this value; of kind `cloud` it has not read all sizes and hashes."""
    if compared_at is None or (source.kind == SourceKind.CLOUD and kind in {Kind.WRONG_SIZE, Kind.WRONG_HASH}):
        return False
    return compared_at > seen_at


def _next_check(seen: FileResult, active: Collection[Finding], now: datetime, grace: timedelta) -> datetime | None:
    suspected = [one.first_seen_at for one in active if one.state == FindingState.SUSPECTED]
    if seen.differences is None:
        return now + max(grace, MIN_WAIT) if seen.is_visible or suspected else None
    return max(min(suspected) + grace, now + MIN_WAIT) if suspected else None


def _visible() -> ColumnElement[bool]:
    return Finding.source_id.in_(select(Source.id).where(~Source.deleted))


def _conditions(finding_filter: Filter) -> list[ColumnElement[bool]]:
    columns = (Finding.state, finding_filter.state), (Finding.kind, finding_filter.kind)
    ids = (Finding.source_id, finding_filter.source), (Finding.file_id, finding_filter.file_id)
    return [_visible(), *(column == value for column, value in (*columns, *ids) if value is not None)]


def select_open_findings(most: int) -> Select[str, str, int]:
    """Open findings by kind and source, counted up to `most` in all."""
    rows = select(Finding.kind, Finding.source_id).where(_IS_OPEN, _visible()).limit(most).subquery()
    return select(rows.c.kind, rows.c.source_id, func.count()).group_by(rows.c.kind, rows.c.source_id)


def oldest_open_finding() -> ScalarSelect[datetime]:
    """When the first of the open findings was seen: their ids rise with the time."""
    return select(Finding.first_seen_at).where(_IS_OPEN).order_by(Finding.id).limit(1).scalar_subquery()
