"""The progress of a check: its cursor and counts move in one transaction with what it has seen, under its lease."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.consistency.check_repository import CheckRepository, LeaseLost
from app.consistency.comparison import Expected, Facts, Staged, compare
from app.consistency.finding_repository import FindingRepository
from app.consistency.look import Clock
from app.consistency.metrics import ConsistencyMetrics
from app.consistency.models import Check, CheckState, Kind
from app.consistency.sources.question import SourceError
from app.consistency.sources.repository import SourceRepository
from app.database.engine import Database
from app.errors import Unavailable
from app.log.sparing import SparingLog

APPLIED_AT_ONCE = 250
SUSPECT_FILES, SUSPECT_SHARE = 10, 0.05
MAX_DIFFERENCES = 1_000_000
MAX_DURATION = timedelta(days=1)


Doubt = tuple[CheckState, str]  # how a check ends, and the reason


class Chunk(NamedTuple):
    """The result of comparing some files; `tally` is added to the columns of the check."""

    tally: Mapping[str, int]
    staged: Sequence[Staged]


class CheckProgress:
    """Changes checks that this process has claimed. `lease` must be longer than a transaction takes.

    Each call raises `LeaseLost` when another process has the check, or it was cancelled.
    """

    def __init__(self, database: Database, clock: Clock, lease: timedelta, metrics: ConsistencyMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self.lease = lease
        self._log = SparingLog(__name__)

    async def advance(
        self,
        check: Check,
        through: UUID | None,
        chunk: Chunk,
        doubt_all: Callable[[Mapping[str, Any]], Doubt | None] | None = None,
    ) -> None:
        """Move the cursor to `through` (None: leave it), and count and keep the differences of the chunk.

        `doubt_all` means that it was the last one, and returns from the columns of the check why the whole is in
        doubt. Without a doubt the differences are applied next.

        Raises:
            SourceError: there are too many differences.
        """
        counts = Counter(str(one.kind) for one in chunk.staged if one.evidence is not None)
        values: dict[str, Any] = {
            "cursor": check.cursor if through is None else through,
            **{name: getattr(check, name) + count for name, count in chunk.tally.items()},
            "counts": {kind: check.counts.get(kind, 0) + counts[kind] for kind in check.counts | counts},
        }
        if sum(values["counts"].values()) > MAX_DIFFERENCES:
            raise SourceError("differs in more than a million values")
        is_last = doubt_all is not None
        columns = {"listed": check.listed, "expected": check.expected, "failed": check.failed, **values}
        doubt = None if doubt_all is None else doubt_all(columns)
        async with self._database.transaction() as session:
            repository = CheckRepository(session)
            if doubt is not None:
                now = await self._clock(session)
                values |= {"state": doubt[0], "reason": doubt[1], "ended_at": now, "due_at": None}
            else:
                values["is_listed"] = is_last
            await repository.change(check.id, check.fence, **values)
            await repository.stage(check.id, chunk.staged)
        self._metrics.changed(values["compared"] - check.compared, values.get("state", CheckState.RUNNING))
        for name, value in values.items():
            setattr(check, name, value)

    async def apply(self, check: Check, stopping: asyncio.Event) -> None:
        """Bring the findings up to date with what the whole inventory has shown."""
        while not stopping.is_set():
            async with self._database.transaction() as session:
                source = await SourceRepository(session).get(check.source_id, for_change=True)
                repository, now = CheckRepository(session), await self._clock(session)
                staged = await repository.take_staged(check.id, APPLIED_AT_ONCE)
                await FindingRepository(session).apply_staged(source, staged)
                values = {} if staged else {"state": CheckState.COMPLETE, "ended_at": now}
                await repository.change(check.id, check.fence, due_at=now + self.lease if staged else None, **values)
            if not staged:
                self._metrics.changed(0, CheckState.COMPLETE)
                return

    async def end(self, check: Check, state: CheckState, reason: str | None) -> None:
        """End it."""
        async with self._database.transaction() as session:
            now = await self._clock(session)
            repository = CheckRepository(session)
            await repository.change(check.id, check.fence, state=state, reason=reason, ended_at=now, due_at=None)
        self._metrics.changed(0, state)

    async def change(self, check: Check, **values: Any) -> None:
        """Set columns."""
        async with self._database.transaction() as session:
            await CheckRepository(session).change(check.id, check.fence, **values)
        self._metrics.changed(values.get("compared", check.compared) - check.compared, CheckState.RUNNING)
        for name, value in values.items():
            setattr(check, name, value)

    @asynccontextmanager
    async def heartbeat(self, check: Check) -> AsyncIterator[None]:
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
            try:
                async with self._database.transaction(wait_for_standbys=False) as session:
                    until = await self._clock(session) + self.lease
                    await CheckRepository(session).change(check_id, fence, due_at=until)
            except (LeaseLost, Unavailable):
                continue  # the next step of the check meets it too
            except Exception as error:  # noqa: BLE001 - the next time may succeed
                self._log.error("lease of a check not extended", check=str(check_id), exc_info=error)


def compare_files(
    files: Mapping[UUID, Expected],
    found: Mapping[UUID, Facts],
    active: Mapping[UUID, Mapping[str, object]],
    seen_at: datetime,
    *,
    equal: int = 0,
) -> Chunk:
    """Compare files with what a source holds of them; `active` are their findings that are not resolved.

    `equal` is how many other files were compared already, and do not differ.
    """
    staged: list[Staged] = []
    compared, in_flight, existing = equal, 0, equal
    for file_id, expected in files.items():
        if expected.in_flight:
            in_flight += 1
            continue
        held = found.get(file_id)
        compared += expected.exists or held is not None
        existing += expected.exists
        differences = compare(expected, held)
        staged += [Staged(file_id, kind, evidence, seen_at) for kind, evidence in differences.items()]
        if active and file_id in active:
            healed = [kind for kind in sorted(active[file_id]) if kind not in differences]
            staged += [Staged(file_id, kind, None, seen_at) for kind in healed]
    return Chunk({"compared": compared, "in_flight": in_flight, "expected": existing}, staged)


def doubt_absence(check: Check, values: Mapping[str, Any]) -> Doubt | None:
    """Why so many absent files are not to be believed; None: they are."""
    absent, expected = values["counts"].get(Kind.MISSING, 0), values["expected"]
    if check.accept_shrink or absent <= max(SUSPECT_FILES, SUSPECT_SHARE * expected):
        return None
    reason = f"The source lacks {absent} of {expected} files. If that is true, check again with `accept_shrink`."
    return CheckState.SUSPECT, reason
