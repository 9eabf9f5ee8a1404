"""The check of the whole source of kind `cloud`, which has no inventory: each file is asked for by its id."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from app.concurrency.shutdown import wait_for_event
from app.consistency.check_progress import MAX_DURATION, CheckProgress, compare_files
from app.consistency.check_repository import CheckRepository
from app.consistency.comparison import Staged
from app.consistency.finding_repository import FindingRepository
from app.consistency.ledger_repository import LedgerRepository
from app.consistency.look import Looker
from app.consistency.models import Check, CheckState, Source
from app.consistency.sources.cloud import CloudClient
from app.consistency.sources.deep import Part
from app.consistency.sources.question import BACKGROUND, Look, NotVisible, SourceError
from app.consistency.sources.repository import SourceRepository
from app.database.engine import Database

CHUNK_FILES = 50  # asked for concurrently


class CloudCheck:
    """First each of our files, by rising id; then those of the owner's list that are not ours, by their number in it.

    Deleted files are asked for only when a 404 means that the file is gone. `cursor` and `listed` are the progress of
    the two.
    """

    def __init__(
        self,
        database: Database,
        client: CloudClient,
        looker: Looker,
        progress: CheckProgress,
        *,
        files_per_second: int,
    ) -> None:
        self._database = database
        self._client = client
        self._looker = looker
        self._progress = progress
        self._files_per_second = files_per_second

    async def run(self, check: Check, stopping: asyncio.Event) -> None:
        """Run it to its end, or until `stopping` is set.

        Raises:
            SourceError: the source could not be asked.
        """
        if check.position is None:
            durable = await self._database.watermark.bound()
            async with self._database.read() as session:
                position = await LedgerRepository(session).get_position(durable)
            await self._progress.change(check, position=position)
        last_page: Sequence[UUID] = ()
        while check.state == CheckState.RUNNING and not check.is_listed:
            if stopping.is_set():
                return
            async with self._database.read() as session:
                source = await SourceRepository(session).get_enabled(check.source_id)
            started = asyncio.get_running_loop().time()
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
            if self._files_per_second:
                spent = asyncio.get_running_loop().time() - started
                await wait_for_event(stopping, count / self._files_per_second - spent)
        if check.state == CheckState.RUNNING:
            await self._progress.apply(check, stopping)

    async def _next_files(self, check: Check) -> tuple[UUID | None, Sequence[UUID]]:
        """Some files after the cursor that should exist, or have findings; and the last of them, None at the end."""
        async with self._database.read() as session:
            if await self._looker.clock(session) > check.started_at + MAX_DURATION:
                raise SourceError("takes longer than a day to be asked for all files")
            ledger, findings = LedgerRepository(session), FindingRepository(session)
            lists = (
                await ledger.list_file_ids(check.cursor, CHUNK_FILES, with_deleted=self._client.sees_all),
                await findings.list_active_file_ids(check.source_id, check.cursor, None, CHUNK_FILES),
            )
        file_ids = sorted({*lists[0], *lists[1]})[:CHUNK_FILES]
        return file_ids[-1] if file_ids else None, file_ids

    async def _advance_list(self, check: Check, source: Source, page: Sequence[UUID]) -> None:
        """Ask for the files of a page of the owner's list that are not ours."""
        async with self._database.read() as session:
            known = await LedgerRepository(session).list_present(page)
            known |= await CheckRepository(session).list_staged_files(check.id, page)
        others = [one for one in dict.fromkeys(page) if one not in known]
        tally, differences = await self._compare(check, source, others)
        tally["listed"] = len(page)
        await self._progress.advance(check, None, tally, differences, is_last=not page)

    async def _compare(
        self, check: Check, source: Source, file_ids: Sequence[UUID]
    ) -> tuple[Counter[str], list[Staged]]:
        part = None if check.deep is None else Part.parse(check.deep)
        asked = await self._looker.ask(source, file_ids, BACKGROUND, part, check.position)
        failures = {one: look for one, look in asked.looks.items() if isinstance(look, SourceError)}
        for failure in failures.values():
            if failure.unanswered:
                raise failure
        async with self._database.read() as session:
            active = await FindingRepository(session).list_active(source.id, file_ids)
            expected = await LedgerRepository(session).list_present(failures.keys())
        # A file that should not exist and cannot be seen is no failure.
        counted = [look for one, look in failures.items() if one in expected or not isinstance(look, NotVisible)]
        if counted and check.reason is None:
            await self._progress.change(check, reason=f"The source {counted[0]}.")
        found = {
            one: look.found for one, look in asked.looks.items() if isinstance(look, Look) and look.found is not None
        }
        tally, differences = compare_files(asked.files, found, active, asked.at)
        tally["failed"] = len(counted)
        return tally, differences
