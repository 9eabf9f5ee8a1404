"""Checks of a whole source, file by file from their cursor: by its inventory, or by the id of each file."""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from app.consistency.check_repository import CheckRepository
from app.consistency.check_runner import CheckProgress, Compared, compare_files
from app.consistency.comparison import MEMBERS
from app.consistency.expected_repository import AsOf, ExpectedRepository, equal_files
from app.consistency.file_check_repository import Clock
from app.consistency.file_checker import FileChecker
from app.consistency.finding_repository import FindingRepository
from app.consistency.models import Check, CheckState, Source
from app.consistency.sources.cloud import CloudClient
from app.consistency.sources.contract import ContractClient, read_item_facts
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.request import BACKGROUND, InventoryPage, NotVisible, SourceError, SourceFile
from app.database.engine import Database

MAX_DURATION = timedelta(days=1)
LISTED_AT_ONCE = 1000  # compared together, as many as a page holds
ASKED_AT_ONCE = 50  # of a source without an inventory
CHUNKS_A_SECOND = 8  # at a limited pace chunks are smaller, which leaves time for requests between

Item = tuple[UUID, Mapping[str, Any]]
_FILE_ID = itemgetter(0)  # of an item


class AskedPage(NamedTuple):
    """A page, with the time and the sweep's position just before the source was asked for it."""

    page: InventoryPage
    at: datetime
    grace: timedelta
    position: int


class InventoryCheck:
    """Goes on from the cursor of the check."""

    def __init__(self, database: Database, client: ContractClient, clock: Clock, progress: CheckProgress) -> None:
        self._database = database
        self._client = client
        self._clock = clock
        self._progress = progress
        at_once = progress.files_per_second // CHUNKS_A_SECOND or LISTED_AT_ONCE
        self._chunk_files = min(LISTED_AT_ONCE, max(100, at_once))

    async def run(self, check: Check, stopping: asyncio.Event) -> None:
        """Compare all files, or those until `stopping` is set.

        Raises:
            SourceError: the source could not be asked, or breaks the contract.
        """
        asking: asyncio.Task[AskedPage] | None = None
        try:
            while check.state == CheckState.RUNNING and not check.is_listed:
                asked = await (asking or self._ask(check, check.cursor))
                after = asked.page.next  # of a page that the source makes while this one is compared
                asking = None if after is None else asyncio.create_task(self._ask(check, after))
                await self._note_first(check, asked)
                await self._compare_page(check, asked, stopping)
                if stopping.is_set():
                    return
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self, check: Check, after: UUID | None) -> AskedPage:
        """Ask for the page after the file `after`."""
        durable = await self._database.watermark.bound()
        async with self._database.read() as session:
            source = await SourceRepository(session).get_enabled(check.source_id)
            now = await self._clock(session)
            position = await ExpectedRepository(session).get_position(durable)
        if now > check.started_at + MAX_DURATION:
            raise SourceError("has a listing that takes longer than a day")
        page = await self._client.get_page(source, after)
        return AskedPage(page, now, timedelta(seconds=source.grace_seconds), position)

    async def _note_first(self, check: Check, asked: AskedPage) -> None:
        """Fix the position of the check with its first page, and hold the later ones to it.

        Raises:
            SourceError: the page contradicts the earlier ones.
        """
        page = asked.page
        as_of = AsOf.of(asked.position, page.watermark, asked.at, asked.grace)
        if check.position is None:
            has_watermark = page.watermark is not None
            await self._progress.change(check, position=as_of.position, total=page.total, has_watermark=has_watermark)
        assert check.position is not None  # noqa: S101 - it was set with the first page
        if check.has_watermark and page.watermark is not None and page.watermark < check.position:
            raise SourceError("has a watermark that has fallen")
        listed = check.listed + len(page.items)
        if page.next is None and check.total is not None and page.total == check.total != listed:
            raise SourceError(f"lists {listed} files and says that it holds {page.total}")

    async def _compare_page(self, check: Check, asked: AskedPage, stopping: asyncio.Event) -> None:
        """Compare the files after the cursor up to the end of the page, in chunks."""
        page, items = asked.page, asked.page.items
        assert check.position is not None  # noqa: S101 - it was set with the first page
        as_of = AsOf(check.position, None if check.has_watermark else asked.at - asked.grace)
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            started = loop.time()
            through, count = await self._compare_chunk(check, items, page, as_of, asked.at)
            if through is not None:
                await self._progress.keep_pace(count, loop.time() - started, stopping)
            if through == page.next:
                return
            if through is not None:
                items = items[bisect_right(items, through, key=_FILE_ID) :]

    async def _compare_chunk(
        self, check: Check, items: Sequence[Item], page: InventoryPage, as_of: AsOf, asked_at: datetime
    ) -> tuple[UUID | None, int]:
        """Compare up to where the first of the three lists of files is cut; returns that place, and how many files."""
        async with self._database.read() as session:
            ledger, findings = ExpectedRepository(session), FindingRepository(session)
            limit = self._chunk_files
            listed = items[:limit]
            found = dict(listed)
            names = set[str]().union(*found.values())
            members = [name for name in MEMBERS if name in names]
            rows = await ledger.list_rows(as_of, check.cursor, page.next, limit, members)
            active_ids = await findings.list_active_file_ids(check.source_id, check.cursor, page.next, limit)
            lists = list(found), list(rows), active_ids
            through = min((one[-1] for one in lists if len(one) == limit), default=page.next)
            if through is not None:
                found = dict(listed[: bisect_right(listed, through, key=_FILE_ID)])
            active = await findings.list_active(check.source_id, active_ids) if active_ids else {}
            equal = equal_files(rows, found, members) - active.keys()
            others = {*found, *rows, *active_ids} - equal
            file_ids = sorted(one for one in others if through is None or one <= through)
            facts = {one: read_item_facts(found[one]) for one in file_ids if one in found}
            files = await ledger.expect(as_of, file_ids, facts, members, rows)
        tally, differences = compare_files(files, facts, active, asked_at)
        tally.update(compared=len(equal), expected=len(equal), listed=len(found))
        await self._progress.advance(check, through, tally, differences, is_last=through is None)
        return through, len(file_ids) + len(equal)


class CloudCheck:
    """First each of our files, by rising id; then those of the owner's list that are not ours, by their number in it.

    Deleted files are asked for only when a 404 means that the file is gone. `cursor` and `listed` are the progress of
    the two.
    """

    def __init__(self, database: Database, client: CloudClient, checker: FileChecker, progress: CheckProgress) -> None:
        self._database = database
        self._client = client
        self._checker = checker
        self._progress = progress

    async def run(self, check: Check, stopping: asyncio.Event) -> None:
        """Compare all files, or those until `stopping` is set.

        Raises:
            SourceError: the source could not be asked.
        """
        if check.position is None:
            durable = await self._database.watermark.bound()
            async with self._database.read() as session:
                position = await ExpectedRepository(session).get_position(durable)
            await self._progress.change(check, position=position)
        last_page: Sequence[UUID] = ()
        loop = asyncio.get_running_loop()
        while check.state == CheckState.RUNNING and not check.is_listed:
            if stopping.is_set():
                return
            async with self._database.read() as session:
                source = await SourceRepository(session).get_enabled(check.source_id)
            started = loop.time()
            through, file_ids = await self._next_files(check)
            count = len(file_ids)
            if through is not None:
                tally, differences = await self._compare(check, source, file_ids)
                await self._progress.advance(check, through, tally, differences, is_last=False)
            else:
                page = await self._client.list_files(check.listed)
                if page and page == last_page:
                    raise SourceError("repeats a page of its list of files")
                last_page, count = page, len(page)
                await self._advance_list(check, source, page)
            await self._progress.keep_pace(count, loop.time() - started, stopping)

    async def _next_files(self, check: Check) -> tuple[UUID | None, Sequence[UUID]]:
        """Some files after the cursor that should exist, or have findings; and the last of them, None at the end."""
        async with self._database.read() as session:
            if await self._checker.clock(session) > check.started_at + MAX_DURATION:
                raise SourceError("takes longer than a day to be asked for all files")
            ledger, findings = ExpectedRepository(session), FindingRepository(session)
            lists = (
                await ledger.list_file_ids(check.cursor, ASKED_AT_ONCE, with_deleted=self._client.sees_all),
                await findings.list_active_file_ids(check.source_id, check.cursor, None, ASKED_AT_ONCE),
            )
        file_ids = sorted({*lists[0], *lists[1]})[:ASKED_AT_ONCE]
        return file_ids[-1] if file_ids else None, file_ids

    async def _advance_list(self, check: Check, source: Source, page: Sequence[UUID]) -> None:
        """Ask for the files of a page of the owner's list that are not ours."""
        async with self._database.read() as session:
            known = await ExpectedRepository(session).list_present(page)
            known |= await CheckRepository(session).list_staged_files(check.id, page)
        others = [one for one in dict.fromkeys(page) if one not in known]
        tally, differences = await self._compare(check, source, others)
        tally["listed"] = len(page)
        await self._progress.advance(check, None, tally, differences, is_last=not page)

    async def _compare(self, check: Check, source: Source, file_ids: Sequence[UUID]) -> Compared:
        asked = await self._checker.ask(source, file_ids, BACKGROUND, check.deep, check.position)
        failures = {one: file for one, file in asked.found.items() if isinstance(file, SourceError)}
        for failure in failures.values():
            if failure.unanswered:
                raise failure
        async with self._database.read() as session:
            active = await FindingRepository(session).list_active(source.id, file_ids)
            expected = await ExpectedRepository(session).list_present(failures.keys())
        # A file that should not exist and cannot be seen is no failure.
        counted = [file for one, file in failures.items() if one in expected or not isinstance(file, NotVisible)]
        if counted and check.reason is None:
            await self._progress.change(check, reason=f"The source {counted[0]}.")
        found = {
            one: file.found
            for one, file in asked.found.items()
            if isinstance(file, SourceFile) and file.found is not None
        }
        tally, differences = compare_files(asked.expected, found, active, asked.at)
        tally["failed"] = len(counted)
        return tally, differences
