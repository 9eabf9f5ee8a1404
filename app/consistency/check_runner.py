"""Runs one claimed check: of a whole source, or of named files. Any process can go on from its cursor."""

import asyncio
from collections import Counter
from contextlib import suppress
from uuid import UUID

from app.consistency.check_progress import CheckProgress
from app.consistency.check_repository import LeaseLost
from app.consistency.look import Looker
from app.consistency.models import Check, CheckState, Verdict
from app.consistency.sources.cloud_check import CloudCheck
from app.consistency.sources.deep import Part
from app.consistency.sources.inventory_check import InventoryCheck
from app.consistency.sources.question import NAMED, SourceError
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.schemas import SourceKind
from app.database.engine import Database
from app.errors import NotFound

NAMED_AT_ONCE = 50


class CheckRunner:
    """Runs checks, each kind of source by its own way."""

    def __init__(
        self,
        database: Database,
        looker: Looker,
        progress: CheckProgress,
        inventory: InventoryCheck,
        cloud: CloudCheck,
    ) -> None:
        self._database = database
        self._looker = looker
        self._progress = progress
        self._inventory = inventory
        self._cloud = cloud
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
                    elif source.kind == SourceKind.CLOUD:
                        await self._cloud.run(check, stopping)
                    else:
                        await self._inventory.run(check, stopping)
                except SourceError as error:
                    await self._progress.change(check, state=CheckState.INCOMPLETE, reason=f"The source {error}.")
            if stopping.is_set():
                await self._progress.change(check, due_at=check.started_at)

    async def _run_named(self, check: Check, stopping: asyncio.Event) -> None:
        part = None if check.deep is None else Part.parse(check.deep)
        named = sorted(UUID(one) for one in check.file_ids or ())
        left = [one for one in named if check.cursor is None or one > check.cursor]
        while left and not stopping.is_set():
            async with self._database.read() as session:
                source = await SourceRepository(session).get_enabled(check.source_id)
            batch, left = left[:NAMED_AT_ONCE], left[NAMED_AT_ONCE:]
            seen, position, is_silent = await self._looker.look(source, batch, NAMED, part=part)
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
