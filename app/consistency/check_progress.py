"""The progress of a check: its cursor and counts move in one transaction with what it has seen, under its lease."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.consistency.check_repository import CheckRepository, LeaseLost
from app.consistency.comparison import Expected, Facts, Staged, compare
from app.consistency.finding_repository import FindingRepository
from app.consistency.look_repository import Clock
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
        tally: Mapping[str, int],
        differences: Sequence[Staged],
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

    async def change(self, check: Check, differences: Sequence[Staged] = (), **values: Any) -> None:
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
) -> tuple[Counter[str], list[Staged]]:
    """Compare files with what a source holds of them; `active` are their findings that are not resolved.

    Returns what is added to the columns of the check, and the differences.
    """
    tally, staged = Counter(compared=0, in_flight=0, expected=0), list[Staged]()
    for file_id, expected in files.items():
        if expected.in_flight:
            tally["in_flight"] += 1
            continue
        held = found.get(file_id)
        tally["compared"] += expected.exists or held is not None
        tally["expected"] += expected.exists
        differences = compare(expected, held)
        staged += [Staged(file_id, kind, evidence, seen_at) for kind, evidence in differences.items()]
        healed = [kind for kind in sorted(active.get(file_id, ())) if kind not in differences]
        staged += [Staged(file_id, kind, None, seen_at) for kind in healed]
    return tally, staged


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
