"""Runs one claimed check: by inventory, page by page, or of named files. Any process can go on from its cursor."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.consistency.check_repository import CheckRepository, LeaseLost
from app.consistency.comparison import Facts, compare
from app.consistency.finding_repository import FindingRepository, Staged
from app.consistency.ledger_repository import AsOf, LedgerFile, LedgerRepository
from app.consistency.look import Looker
from app.consistency.models import Check, CheckState, Kind, Source, Verdict
from app.consistency.sources.contract import BACKGROUND, ContractClient, Page, SourceError
from app.consistency.sources.repository import SourceRepository
from app.database.engine import Database
from app.errors import NotFound, Unavailable

CHUNK_FILES = 250  # compared at once
NAMED_AT_ONCE = 50
APPLIED_AT_ONCE = 250
SUSPECT_FILES, SUSPECT_SHARE = 10, 0.05
MAX_DIFFERENCES = 1_000_000
MAX_DURATION = timedelta(days=1)


class CheckRunner:
    """Runs checks. `lease` must be longer than a transaction takes; a heartbeat extends it."""

    def __init__(
        self, database: Database, client: ContractClient, looker: Looker, *, files_per_second: int, lease: timedelta
    ) -> None:
        self._database = database
        self._client = client
        self._looker = looker
        self._files_per_second = files_per_second
        self.lease = lease

    async def run(self, check: Check, stopping: asyncio.Event) -> None:
        """Run the check to its end, or until `stopping` is set; then another process goes on at once.

        Raises:
            DatabaseUnavailable: the database cannot serve; the check goes on when its lease has ended.
        """
        with suppress(LeaseLost, NotFound):  # it was cancelled, another process has it, or the source was deleted
            async with self._heartbeat(check):
                try:
                    async with self._database.read() as session:
                        source = await SourceRepository(session).get(check.source_id)
                    if check.file_ids is not None:
                        await self._run_named(check, source, stopping)
                    else:
                        await self._run_inventory(check, source, stopping)
                except SourceError as error:
                    await self._end(check, CheckState.INCOMPLETE, f"The source {error}.")
            if stopping.is_set():
                await self._change(check, due_at=check.started_at)

    async def _run_inventory(self, check: Check, source: Source, stopping: asyncio.Event) -> None:
        address = self._looker.address(source)
        while check.state == CheckState.RUNNING and not check.is_listed:
            durable = await self._database.watermark.bound()
            async with self._database.read() as session:
                now = await self._looker.clock(session)
                position = await LedgerRepository(session).get_position(durable)
            if now > check.started_at + MAX_DURATION:
                raise SourceError("has a listing that takes longer than a day")
            page = await self._client.get_page(address, check.cursor)
            as_of = AsOf.of(position, page.watermark, now, timedelta(seconds=source.grace_seconds))
            if check.position is None:
                has_watermark = page.watermark is not None
                await self._change(check, position=as_of.position, total=page.total, has_watermark=has_watermark)
            assert check.position is not None  # noqa: S101 - it was set with the first page
            if check.has_watermark and page.watermark is not None and page.watermark < check.position:
                raise SourceError("has a watermark that has fallen")
            listed = check.listed + len(page.items)
            if page.next is None and check.total is not None and page.total == check.total != listed:
                raise SourceError(f"lists {listed} files and says that it holds {page.total}")
            settled_before = None if check.has_watermark else now - timedelta(seconds=source.grace_seconds)
            await self._compare_page(check, page, AsOf(check.position, settled_before), now, stopping)
            if stopping.is_set():
                return
        if check.state == CheckState.RUNNING:
            await self._apply(check, stopping)

    async def _compare_page(
        self, check: Check, page: Page, as_of: AsOf, asked_at: datetime, stopping: asyncio.Event
    ) -> None:
        """Compare the files after the cursor up to the end of the page, in chunks."""
        items = list(page.items)
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            started = loop.time()
            through, count = await self._compare_chunk(check, items, page, as_of, asked_at)
            if through is not None and self._files_per_second:
                await _wait(stopping, count / self._files_per_second - (loop.time() - started))
            if through == page.next:
                return
            items = [item for item in items if through is None or item[0] > through]

    async def _compare_chunk(
        self, check: Check, items: Sequence[tuple[UUID, Facts]], page: Page, as_of: AsOf, asked_at: datetime
    ) -> tuple[UUID | None, int]:
        """Compare up to where the first of the three lists of files is cut; returns that place, and how many files."""
        async with self._database.read() as session:
            ledger, findings = LedgerRepository(session), FindingRepository(session)
            lists = (
                [file_id for file_id, _ in items[:CHUNK_FILES]],
                await ledger.list_file_ids(check.cursor, page.next, CHUNK_FILES),
                await findings.list_active_file_ids(check.source_id, check.cursor, page.next, CHUNK_FILES),
            )
            through = min((one[-1] for one in lists if len(one) == CHUNK_FILES), default=page.next)
            file_ids = sorted({one for ids in lists for one in ids if through is None or one <= through})
            found = {file_id: facts for file_id, facts in items[:CHUNK_FILES] if through is None or file_id <= through}
            files = await ledger.read(as_of, file_ids, found)
            active = await findings.list_active(check.source_id, file_ids)
        # A look that was recorded since the page was asked for knows better.
        chunk = _compare(files, found, active, asked_at)
        await self._advance(check, through, chunk)
        return through, len(file_ids)

    async def _advance(self, check: Check, through: UUID | None, chunk: "_Chunk") -> None:
        """Move the cursor to `through` (None: to the end), and count and keep what the chunk has shown."""
        is_last = through is None
        values: dict[str, Any] = {
            "cursor": check.cursor if is_last else through,
            **{name: getattr(check, name) + count for name, count in chunk.tally.items()},
            "counts": {kind: check.counts.get(kind, 0) + chunk.counts[kind] for kind in check.counts | chunk.counts},
        }
        if sum(values["counts"].values()) > MAX_DIFFERENCES:
            raise SourceError("differs in more than a million values")
        doubt = _doubt(check, values) if is_last else None
        async with self._database.transaction() as session:
            repository = CheckRepository(session)
            now = await self._looker.clock(session)
            if doubt is not None:
                values |= {"state": CheckState.SUSPECT, "reason": doubt, "ended_at": now, "due_at": None}
            else:
                values |= {"is_listed": is_last, "due_at": now + self.lease}
            await repository.change(check.id, check.fence, **values)
            await repository.stage(check.id, chunk.staged)
        for name, value in values.items():
            setattr(check, name, value)

    async def _apply(self, check: Check, stopping: asyncio.Event) -> None:
        """Bring the findings up to date with what the whole inventory has shown."""
        while not stopping.is_set():
            async with self._database.transaction() as session:
                source = await SourceRepository(session).get(check.source_id, for_change=True)
                repository, now = CheckRepository(session), await self._looker.clock(session)
                staged = await repository.take_staged(check.id, APPLIED_AT_ONCE)
                await FindingRepository(session).apply_staged(source, staged)
                values = {} if staged else {"state": CheckState.COMPLETE, "ended_at": now}
                await repository.change(check.id, check.fence, due_at=now + self.lease if staged else None, **values)
            if not staged:
                return

    async def _run_named(self, check: Check, source: Source, stopping: asyncio.Event) -> None:
        named = sorted(UUID(one) for one in check.file_ids or ())
        left = [one for one in named if check.cursor is None or one > check.cursor]
        while left and not stopping.is_set():
            batch, left = left[:NAMED_AT_ONCE], left[NAMED_AT_ONCE:]
            seen, position = await self._looker.look(source, batch, BACKGROUND)
            failures = [one.reason for one in seen if one.verdict is Verdict.UNKNOWN]
            is_silent = len(failures) == len(batch)
            in_flight = sum(one.verdict is Verdict.IN_FLIGHT for one in seen)
            counts = dict(check.counts)
            for kind in [kind for one in seen for kind in one.differences or ()]:
                counts[kind] = counts.get(kind, 0) + 1
            await self._change(
                check,
                cursor=batch[-1],
                position=position if check.position is None else min(position, check.position),
                compared=check.compared + len(batch) - in_flight - len(failures),
                in_flight=check.in_flight + in_flight,
                failed=check.failed + len(failures) + (len(left) if is_silent else 0),
                counts=counts,
                reason=check.reason or (f"The source {failures[0]}." if failures else None),
            )
            if is_silent:
                left = []
        if stopping.is_set() and left:
            return
        failed = f"{check.failed} of {len(named)} files could not be asked about. {check.reason}"
        state = CheckState.INCOMPLETE if check.failed else CheckState.COMPLETE
        await self._end(check, state, failed if check.failed else None)

    async def _end(self, check: Check, state: CheckState, reason: str | None) -> None:
        async with self._database.transaction() as session:
            now = await self._looker.clock(session)
            repository = CheckRepository(session)
            await repository.change(check.id, check.fence, state=state, reason=reason, ended_at=now, due_at=None)

    async def _change(self, check: Check, **values: object) -> None:
        async with self._database.transaction() as session:
            await CheckRepository(session).change(check.id, check.fence, **values)
        for name, value in values.items():
            setattr(check, name, value)

    @asynccontextmanager
    async def _heartbeat(self, check: Check) -> AsyncIterator[None]:
        """Extend the lease while the block runs."""
        task = asyncio.create_task(self._extend(check.id, check.fence))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _extend(self, check_id: UUID, fence: int) -> None:
        while True:
            await asyncio.sleep(self.lease.total_seconds() / 3)
            with suppress(LeaseLost, Unavailable):
                async with self._database.transaction(wait_for_standbys=False) as session:
                    until = await self._looker.clock(session) + self.lease
                    await CheckRepository(session).change(check_id, fence, due_at=until)


class _Chunk(NamedTuple):
    """What the comparison of some files has shown; `tally` is added to the columns of the check."""

    tally: Mapping[str, int]
    counts: Counter[str]
    staged: Sequence[Staged]


def _compare(
    files: Mapping[UUID, LedgerFile],
    found: Mapping[UUID, Facts],
    active: Mapping[UUID, Mapping[str, object]],
    seen_at: datetime,
) -> _Chunk:
    compared = {one: file.expected for one, file in files.items() if not file.in_flight}
    staged: list[Staged] = []
    for file_id, expected in compared.items():
        differences = compare(expected, found.get(file_id))
        healed = [kind for kind in sorted(active.get(file_id, {})) if kind not in differences]
        staged += [Staged(file_id, kind, evidence, seen_at) for kind, evidence in differences.items()]
        staged += [Staged(file_id, kind, None, seen_at) for kind in healed]
    tally = {
        "listed": len(found),
        "compared": sum(expected.exists or one in found for one, expected in compared.items()),
        "in_flight": len(files) - len(compared),
        "expected": sum(expected.exists for expected in compared.values()),
    }
    return _Chunk(tally, Counter(str(one.kind) for one in staged if one.evidence is not None), staged)


def _doubt(check: Check, values: Mapping[str, Any]) -> str | None:
    """Why the whole listing is suspect; None: it is believed."""
    absent, expected = values["counts"].get(Kind.MISSING, 0), values["expected"]
    if check.accept_shrink or absent <= max(SUSPECT_FILES, SUSPECT_SHARE * expected):
        return None
    return f"The source lacks {absent} of {expected} files. If that is true, check again with `accept_shrink`."


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await stopping.wait()
