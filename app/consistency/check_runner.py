"""Runs claimed checks. Their cursor and counts move in one transaction with what was seen, so any process can go on."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from app.concurrency.shutdown import wait_for_event
from app.concurrency.task import repeating
from app.consistency.check_repository import CheckRepository, LeaseLost
from app.consistency.comparison import Evidence, Expected, Facts, compare
from app.consistency.file_check_repository import Clock
from app.consistency.file_checker import FileChecker
from app.consistency.finding_repository import FindingRepository
from app.consistency.metrics import ConsistencyMetrics
from app.consistency.models import Check, CheckState, Difference, Kind, Verdict
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.request import NAMED, SourceError
from app.database.engine import Database
from app.errors import NotFound
from app.log.sparing import SparingLog

APPLIED_AT_ONCE = 250
SUSPECT_FILES, SUSPECT_SHARE = 10, 0.05
MAX_DIFFERENCES = 1_000_000
NAMED_AT_ONCE = 50

Compared = tuple[Counter[str], list[Difference]]  # what is added to the columns of a check, and the differences
FullCheck = Callable[[Check, asyncio.Event], Awaitable[None]]  # compares the files of a whole source


class CheckProgress:
    """Changes checks that this process has claimed. `lease` must be longer than a transaction takes.

    Each call raises `LeaseLost` when another process has the check, or it was cancelled. A check compares
    `files_per_second`; 0: without a pace.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        lease: timedelta,
        metrics: ConsistencyMetrics,
        *,
        files_per_second: int = 0,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self.lease = lease
        self.files_per_second = files_per_second
        self._log = SparingLog(__name__)

    async def advance(
        self,
        check: Check,
        through: UUID | None,
        tally: Mapping[str, int],
        differences: Sequence[Difference],
        *,
        is_last: bool,
    ) -> None:
        """Move the cursor to `through` (None: leave it), add `tally` to the columns, and keep the differences.

        After the last files the differences are applied next, unless the whole is in doubt.

        Raises:
            SourceError: there are too many differences.
        """
        counts = Counter(check.counts) + Counter(str(one.kind) for one in differences if one.evidence is not None)
        if counts.total() > MAX_DIFFERENCES:
            raise SourceError("differs in more than a million values")
        values: dict[str, Any] = {name: getattr(check, name) + number for name, number in tally.items()}
        values |= {"cursor": check.cursor if through is None else through, "counts": dict(counts)}
        doubt = _doubt(check, values) if is_last else {}
        await self.change(check, differences, **values, **(doubt or {"is_listed": is_last}))

    async def change(self, check: Check, differences: Sequence[Difference] = (), **values: Any) -> None:
        """Set columns, and keep the differences until the whole is known. A `state` ends the check."""
        async with self._database.transaction() as session:
            if "state" in values:
                values |= {"ended_at": await self._clock(session), "due_at": None}
            repository = CheckRepository(session)
            await repository.change(check.id, check.fence, **values)
            await repository.stage(check.id, differences)
        compared = values.get("compared", check.compared) - check.compared
        self._metrics.changed(compared, values.get("state", CheckState.RUNNING))
        for name, value in values.items():
            setattr(check, name, value)

    async def apply(self, check: Check, stopping: asyncio.Event) -> None:
        """Bring the findings up to date with what the whole source has shown."""
        while not stopping.is_set():
            async with self._database.transaction() as session:
                source = await SourceRepository(session).get(check.source_id, for_change=True)
                repository = CheckRepository(session)
                staged = await repository.take_staged(check.id, APPLIED_AT_ONCE)
                await FindingRepository(session).apply_staged(source, staged)
                due_at = await self._clock(session) + self.lease
                await repository.change(check.id, check.fence, due_at=due_at)
            if not staged:
                await self.change(check, state=CheckState.COMPLETE)
                return

    async def keep_pace(self, files: int, spent_seconds: float, stopping: asyncio.Event) -> None:
        """Wait until it is time for more files, after these took so long."""
        if self.files_per_second:
            await wait_for_event(stopping, files / self.files_per_second - spent_seconds)

    def heartbeat(self, check: Check) -> AbstractAsyncContextManager[None]:
        """Extend the lease while the block runs."""
        extend = partial(self._extend, check.id, check.fence)
        seconds = self.lease.total_seconds() / 3
        return repeating(seconds, extend, self._log, "lease of a check not extended", check=str(check.id))

    async def _extend(self, check_id: UUID, fence: int) -> None:
        with suppress(LeaseLost):  # the next step of the check meets it too
            async with self._database.transaction(wait_for_standbys=False) as session:
                until = await self._clock(session) + self.lease
                await CheckRepository(session).change(check_id, fence, due_at=until)


class CheckRunner:
    """Runs checks, each kind of source by its own way."""

    def __init__(
        self,
        database: Database,
        checker: FileChecker,
        progress: CheckProgress,
        full_checks: Mapping[str, FullCheck],
    ) -> None:
        self._database = database
        self._checker = checker
        self._progress = progress
        self._full_checks = full_checks  # by the kind of source
        self.lease = progress.lease

    async def run(self, check: Check, stopping: asyncio.Event) -> None:
        """Run the check to its end, or until `stopping` is set; then another process continues immediately.

        Raises:
            DatabaseUnavailable: the database cannot serve; the check goes on when its lease has ended.
        """
        with suppress(LeaseLost, NotFound):  # it was cancelled, another process has it, or the source was deleted
            async with self._progress.heartbeat(check):
                try:
                    async with self._database.read() as session:
                        source = await SourceRepository(session).get(check.source_id)
                    if check.file_ids is not None:
                        await self._run_named(check, stopping)
                    else:
                        await self._full_checks[source.kind](check, stopping)
                        if check.is_listed:
                            await self._progress.apply(check, stopping)
                except SourceError as error:
                    await self._progress.change(check, state=CheckState.INCOMPLETE, reason=f"The source {error}.")
            if stopping.is_set():
                await self._progress.change(check, due_at=check.started_at)

    async def _run_named(self, check: Check, stopping: asyncio.Event) -> None:
        named = sorted(UUID(one) for one in check.file_ids or ())
        left = [one for one in named if check.cursor is None or one > check.cursor]
        while left and not stopping.is_set():
            async with self._database.read() as session:
                source = await SourceRepository(session).get_enabled(check.source_id)
            batch, left = left[:NAMED_AT_ONCE], left[NAMED_AT_ONCE:]
            seen, position, _, is_silent = await self._checker.check(source, batch, NAMED, deep=check.deep)
            failures = [one.reason for one in seen if one.verdict is Verdict.UNKNOWN]
            in_flight = sum(one.verdict is Verdict.IN_FLIGHT for one in seen)
            await self._progress.change(
                check,
                cursor=batch[-1],
                position=position if check.position is None else min(position, check.position),
                compared=check.compared + len(batch) - in_flight - len(failures),
                in_flight=check.in_flight + in_flight,
                failed=check.failed + len(failures) + (len(left) if is_silent else 0),
                counts=Counter(check.counts) + Counter(kind for one in seen for kind in one.differences or ()),
                reason=check.reason or (f"The source {failures[0]}." if failures else None),
            )
            if is_silent:
                left = []
        if stopping.is_set() and left:
            return
        if not check.failed:
            await self._progress.change(check, state=CheckState.COMPLETE, reason=None)
            return
        reason = f"{check.failed} of {len(named)} files could not be asked about. {check.reason}"
        await self._progress.change(check, state=CheckState.INCOMPLETE, reason=reason)


def compare_files(
    files: Mapping[UUID, Expected],
    found: Mapping[UUID, Facts],
    active: Mapping[UUID, Mapping[str, object]],
    seen_at: datetime,
) -> Compared:
    """Compare files with what a source holds of them; `active` are their findings that are not resolved."""
    tally, differences = Counter(compared=0, in_flight=0, expected=0), list[Difference]()
    for file_id, expected in files.items():
        if expected.in_flight:
            tally["in_flight"] += 1
            continue
        held = found.get(file_id)
        tally["compared"] += expected.exists or held is not None
        tally["expected"] += expected.exists
        kinds: dict[str, Evidence | None] = dict.fromkeys(active.get(file_id, ())) | compare(expected, held)
        differences += [
            Difference(file_id=file_id, kind=kind, evidence=evidence, seen_at=seen_at)
            for kind, evidence in kinds.items()
        ]
    return tally, differences


def _doubt(check: Check, values: Mapping[str, Any]) -> dict[str, Any]:
    """How the check ends because its result is not to be believed; empty: it is."""
    failed, expected = values.get("failed", check.failed), values["expected"]
    if failed:
        reason = f"{failed} files could not be asked about. {check.reason}"
        return {"state": CheckState.INCOMPLETE, "reason": reason}
    absent = values["counts"].get(Kind.MISSING, 0)
    if check.accept_shrink or absent <= max(SUSPECT_FILES, SUSPECT_SHARE * expected):
        return {}
    reason = f"The source lacks {absent} of {expected} files. If that is true, check again with `accept_shrink`."
    return {"state": CheckState.SUSPECT, "reason": reason}
