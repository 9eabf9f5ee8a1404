"""Checks single files: asks the source, compares with the ledger, and brings the findings up to date."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.concurrency.task import SingleFlight
from app.consistency.comparison import Expected, compare
from app.consistency.expected_repository import AsOf, ExpectedRepository
from app.consistency.file_check_repository import Clock
from app.consistency.finding_repository import FileResult, FindingRepository
from app.consistency.models import Kind, Source, Verdict
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.request import (
    REFRESH,
    BlocksToRead,
    BlockSubset,
    NotVisible,
    RequestRetries,
    SourceClient,
    SourceError,
    SourceFile,
)
from app.consistency.sources.schemas import SourceKind
from app.database.engine import Database


class CheckedFiles(NamedTuple):
    """The result of a check of some files of a source at `at`, as of `position`.

    `is_silent`: it did not respond at all.
    """

    seen: Sequence[FileResult]
    position: int
    at: datetime
    is_silent: bool


class AskedFiles(NamedTuple):
    """The state of some files at a source, asked at `at`, and their expected state where the source responded."""

    found: Mapping[UUID, SourceFile | SourceError]
    expected: Mapping[UUID, Expected]
    position: int
    at: datetime


class FileChecker:
    """Checks files, a few concurrently for each source."""

    def __init__(
        self,
        database: Database,
        clients: Mapping[str, SourceClient],
        *,
        concurrency: int,
        clock: Clock,
    ) -> None:
        self._database = database
        self._clients = clients  # by the kind of source
        self.concurrency = concurrency
        self._permits: defaultdict[UUID, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(concurrency))
        self._refreshes: SingleFlight[tuple[UUID, UUID], CheckedFiles] = SingleFlight("consistency-refresh")
        self.clock = clock

    async def refresh(self, source: Source, file_id: UUID) -> CheckedFiles:
        """Check one file now; calls for the same file at the same time share one check."""
        return await self._refreshes.run((source.id, file_id), partial(self.check, source, [file_id], REFRESH))

    async def check(
        self,
        source: Source,
        file_ids: Sequence[UUID],
        retries: RequestRetries,
        claimed_until: Collection[datetime] = (),
        deep: str | None = None,
    ) -> CheckedFiles:
        """Check the files and record the results. Once the source does not respond, the rest is not asked.

        Raises:
            NotFound: the source was deleted.
            DatabaseUnavailable: the database cannot serve now.
        """
        asked = await self.ask(source, file_ids, retries, deep)
        seen = [_judge(file_id, file, asked.expected.get(file_id)) for file_id, file in asked.found.items()]
        async with self._database.transaction() as session:
            current = await SourceRepository(session).get(source.id, for_change=True)
            await FindingRepository(session).record_file_checks(current, seen, asked.at, claimed_until)
        is_silent = all(isinstance(one, SourceError) and one.unanswered for one in asked.found.values())
        return CheckedFiles(seen, asked.position, asked.at, is_silent)

    async def ask(
        self,
        source: Source,
        file_ids: Sequence[UUID],
        retries: RequestRetries,
        deep: str | None = None,
        at_most: int | None = None,
    ) -> AskedFiles:
        """Ask for the files, and read their expected state as of now, or of the position `at_most`."""
        durable = await self._database.watermark.bound()
        async with self._database.read() as session:
            position, now = await ExpectedRepository(session).get_position(durable), await self.clock(session)
            position = position if at_most is None else min(position, at_most)
            blocks = await _choose_blocks(session, source, file_ids, deep)
        responses = _Responses()
        asking = (self._ask(source, one, retries, blocks.get(one, _NO_BLOCKS), responses) for one in file_ids)
        files = dict(zip(file_ids, await asyncio.gather(*asking), strict=True))
        groups: defaultdict[AsOf, dict[UUID, SourceFile]] = defaultdict(dict)
        for file_id, file in files.items():
            if isinstance(file, SourceFile):
                groups[AsOf.of(position, file.watermark, now, timedelta(seconds=source.grace_seconds))][file_id] = file
        expected: dict[UUID, Expected] = {}
        async with self._database.read() as session:
            for as_of, group in groups.items():
                found = {one: file.found for one, file in group.items() if file.found is not None}
                expected |= await ExpectedRepository(session).read(as_of, group.keys(), found)
        return AskedFiles(files, expected, min((as_of.position for as_of in groups), default=position), now)

    async def close(self) -> None:
        """Cancel every refresh, and wait until each has ended."""
        self._refreshes.close()
        await self._refreshes.wait_closed()

    async def _ask(
        self, source: Source, file_id: UUID, retries: RequestRetries, blocks: BlocksToRead, responses: "_Responses"
    ) -> SourceFile | SourceError:
        try:
            async with (
                asyncio.timeout(retries.seconds if retries is REFRESH else None),
                self._permit(source.id, retries, responses),
            ):
                if responses.ended:
                    return SourceError("does not respond", unanswered=True)
                before = responses.count
                try:
                    file = await self._clients[source.kind].get_file(source, file_id, retries, blocks)
                except SourceError as error:
                    if error.unanswered and responses.count == before:
                        responses.ended = True
                    # Their frames would keep the whole response for as long as the other files are asked for.
                    error.__traceback__ = error.__context__ = error.__cause__ = None
                    return error
                responses.count += 1
                return file
        except TimeoutError:
            return SourceError("has too many requests under way", unanswered=True)

    @asynccontextmanager
    async def _permit(self, source_id: UUID, retries: RequestRetries, responses: "_Responses") -> AsyncIterator[None]:
        """Hold one of the source's permits, of which each file check under way has one.

        Raises:
            TimeoutError: for too long no file check of this call has had a permit.
        """
        permits = self._permits[source_id]
        while True:
            try:
                async with asyncio.timeout(retries.permit_seconds):
                    await permits.acquire()
                break
            except TimeoutError:
                if not responses.begun:
                    raise
        responses.begun = True
        try:
            yield
        finally:
            permits.release()


@dataclass
class _Responses:
    """The source during one call: it has `ended` to respond when a file check failed while no other succeeded."""

    count: int = 0
    ended: bool = False
    begun: bool = False


_NO_BLOCKS = BlocksToRead(None, ())


async def _choose_blocks(
    session: AsyncSession, source: Source, file_ids: Sequence[UUID], deep: str | None
) -> Mapping[UUID, BlocksToRead]:
    """The blocks to read of each file; only kind `cloud` has to be asked for the contents of blocks."""
    if source.kind != SourceKind.CLOUD:
        return {}
    active = await FindingRepository(session).list_active(source.id, file_ids)
    wrong = {
        one: [found.evidence for kind, found in active[one].items() if kind in {Kind.WRONG_SIZE, Kind.WRONG_HASH}]
        for one in file_ids
        if one in active
    }
    subset = None if deep is None else BlockSubset.parse(deep)
    return {one: BlocksToRead(subset, wrong.get(one, ())) for one in file_ids}


def _judge(file_id: UUID, file: SourceFile | SourceError, expected: Expected | None) -> FileResult:
    if isinstance(file, SourceError) or expected is None:
        return FileResult(file_id, Verdict.UNKNOWN, None, reason=str(file), is_visible=not isinstance(file, NotVisible))
    if expected.in_flight:
        return FileResult(file_id, Verdict.IN_FLIGHT, expected.position)
    differences = compare(expected, file.found)
    verdict = Verdict.INCONSISTENT if differences else Verdict.CONSISTENT
    return FileResult(file_id, verdict, expected.position, differences, expected=expected, found=file.found)
