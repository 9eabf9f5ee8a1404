"""The state of one file at each source, from the database or by asking the sources now."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.check_repository import CheckRepository
from app.consistency.expected_repository import ExpectedRepository
from app.consistency.file_check_repository import FileCheckRepository
from app.consistency.file_checker import FileChecker
from app.consistency.finding_repository import FindingRepository
from app.consistency.models import CheckState, FileCheck, Source, Verdict
from app.consistency.schemas import FileConsistency, Filter, SourceVerdict, merge_evidence
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.schemas import SourceKind
from app.database.engine import Database
from app.errors import NotFound, ProblemError
from app.events.models import EventType
from app.files.models import FileState
from app.files.repository import FileRepository

MAX_REFRESHES = 4  # concurrently for each token subject


class FileUnknown(NotFound):
    detail = "Neither an event nor a finding names this file."


class TooManyRefreshes(ProblemError):
    status, code = 429, "too-many-refreshes"
    detail = f"Tokens of this subject have {MAX_REFRESHES} refreshes under way; wait until one ends."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class FileConsistencyService:
    """Reads verdicts, and refreshes them."""

    def __init__(self, database: Database, checker: FileChecker, *, cloud_sees_all: bool) -> None:
        self._database = database
        self._cloud_sees_all = cloud_sees_all
        self._checker = checker
        self._refreshes: Counter[str] = Counter()  # under way, by token subject

    async def read(self, file_id: UUID) -> FileConsistency:
        """The stored state of the file at each source; raises `NotFound` (404)."""
        stored = await self._read_stored(file_id)
        return FileConsistency(file_id=file_id, sources=[verdict for _, verdict in stored])

    async def refresh(self, file_id: UUID, subject: str) -> FileConsistency:
        """Ask the enabled sources for the file now, and bring its findings up to date.

        Raises:
            NotFound: 404.
            TooManyRefreshes: 429.
        """
        if self._refreshes[subject] >= MAX_REFRESHES:
            raise TooManyRefreshes
        self._refreshes[subject] += 1
        try:
            stored = await self._read_stored(file_id)
            verdicts = await asyncio.gather(*(self._refresh(source, file_id, verdict) for source, verdict in stored))
        finally:
            self._refreshes -= Counter([subject])  # which keeps no subject without a refresh
        return FileConsistency(file_id=file_id, sources=verdicts)

    async def _refresh(self, source: Source, file_id: UUID, stored: SourceVerdict) -> SourceVerdict:
        if not source.enabled:
            return stored
        try:
            checked = await self._checker.refresh(source, file_id)
        except NotFound:  # the source was deleted meanwhile
            return stored
        [seen] = checked.seen
        evidence = merge_evidence(list((seen.differences or {}).values()))
        return SourceVerdict(source=source.id, verdict=seen.verdict, seen_at=checked.at, evidence=evidence)

    async def _read_stored(self, file_id: UUID) -> list[tuple[Source, SourceVerdict]]:
        async with self._database.read() as session:
            sources = await SourceRepository(session).list_all()
            checks = await FileCheckRepository(session).list_of_file(file_id, [one.id for one in sources])
            found = await FileRepository(session).find(file_id)
            is_known = any(found)  # to the ledger
            if not is_known and not await FindingRepository(session).list_newest(Filter(file_id=file_id), limit=1):
                raise FileUnknown
            return [
                (one, await self._read_verdict(session, one, file_id, checks.get(one.id), found)) for one in sources
            ]

    async def _read_verdict(
        self,
        session: AsyncSession,
        source: Source,
        file_id: UUID,
        last: FileCheck | None,
        found: tuple[FileState | None, int],
    ) -> SourceVerdict:
        """The verdict of the last file check or complete check, if nothing has happened to the file since."""
        active = (await FindingRepository(session).list_active(source.id, [file_id])).get(file_id, {})
        if active:
            seen_at = max(one.last_seen_at for one in active.values())
            evidence = merge_evidence([one.evidence for _, one in sorted(active.items())])
            return SourceVerdict(source=source.id, verdict=Verdict.INCONSISTENT, seen_at=seen_at, evidence=evidence)
        state, unprocessed = found
        verdict, checked_at = Verdict.UNKNOWN, None if last is None else last.seen_at
        if last is not None and last.verdict is not None:
            verdict = Verdict(last.verdict)
            is_changed = state is not None and last.position is not None and state.last_position > last.position
            if verdict is Verdict.CONSISTENT and is_changed:
                verdict = Verdict.IN_FLIGHT
        compared_at = await self._compared_at(session, source, state, checked_at) if state is not None else None
        if compared_at is not None:
            verdict, checked_at = Verdict.CONSISTENT, compared_at
        if unprocessed and verdict is not Verdict.UNKNOWN:
            verdict = Verdict.IN_FLIGHT
        return SourceVerdict(source=source.id, verdict=verdict, seen_at=checked_at, evidence=None)

    async def _compared_at(
        self, session: AsyncSession, source: Source, state: FileState, checked_at: datetime | None
    ) -> datetime | None:
        """The end of a complete check that has compared the file, if it began after the last file check.

        The file's events were processed then, and old enough for the source.
        """
        if source.kind == SourceKind.CLOUD and not self._cloud_sees_all and state.last_event_type == EventType.DELETE:
            return None  # such a check asks for no deleted file
        check = await CheckRepository(session).find_last(source.id, CheckState.COMPLETE)
        if check is None or (checked_at is not None and check.started_at <= checked_at):
            return None
        before = None if check.has_watermark else check.started_at - timedelta(seconds=source.grace_seconds)
        ledger = ExpectedRepository(session)
        if not await ledger.was_settled(state.file_id, check.position or 0, check.started_at, before):
            return None
        return check.ended_at
