"""Plans repairs, and applies each plan once, after another check of each file."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

from pydantic_core import to_json
from uuid_utils.compat import uuid7

from app.concurrency.task import SingleFlight
from app.consistency.check_repository import LeaseLost
from app.consistency.file_checker import FileChecker
from app.consistency.finding_repository import FileResult, FindingRepository
from app.consistency.models import REPAIR_SUBJECT, Finding, FindingState, Kind, Repair, RepairAction, Source, Verdict
from app.consistency.repairs.decision import (
    DELETED,
    NOT_RECORDABLE,
    Application,
    check_compensable,
    encode_compensation,
    event_type_of,
    why_not_open,
)
from app.consistency.repairs.repository import RepairRepository
from app.consistency.schemas import Filter
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.request import REFRESH
from app.database.engine import Database
from app.deliveries.repository import DeliveryRepository
from app.errors import NotFound, Unavailable
from app.events.group import EventRecord, IdempotencyKeyReused
from app.events.ledger import Ledger

MAX_PLANNED = 1000
LEASE = timedelta(minutes=2)  # longer than a group of files takes
POLL_SECONDS = 0.1
COMPENSATED = "The finding was compensated before, and the source differs again: accept it."


class RepairService:
    """Repairs `files_at_once`; calls `on_redelivered` after deliveries were made pending."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        checker: FileChecker,
        *,
        files_at_once: int,
        on_redelivered: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._checker = checker
        self._files_at_once = files_at_once
        self._on_redelivered = on_redelivered
        self._applications: SingleFlight[UUID, Repair] = SingleFlight("consistency-repair")

    async def close(self) -> None:
        """Cancel the running applications, and wait until each has released its lease; another call continues them."""
        self._applications.close()
        await self._applications.wait_closed()

    async def plan(self, finding_filter: Filter, action: RepairAction) -> tuple[Repair, list[Finding]]:
        """Plan to repair the newest open findings that match; raises `NotCompensable` (422)."""
        async with self._database.transaction() as session:
            findings: list[Finding] = []
            if finding_filter.state in {None, FindingState.OPEN}:
                is_open = finding_filter.model_copy(update={"state": FindingState.OPEN})
                findings += await FindingRepository(session).list_newest(is_open, limit=MAX_PLANNED)
            if action is RepairAction.COMPENSATE:
                check_compensable(findings, await SourceRepository(session).list_all())
            repair = Repair(
                id=uuid7(),
                action=action,
                digest=_digest(action, findings),
                finding_ids=[str(one.id) for one in findings],
                created_at=await self._checker.clock(session),
                due_at=None,
                results=None,
            )
            await RepairRepository(session).add(repair)
        return repair, findings

    async def get(self, repair_id: UUID) -> Repair:
        """The plan; raises `NotFound` (404)."""
        async with self._database.read() as session:
            return await RepairRepository(session).get(repair_id)

    async def apply(self, repair_id: UUID) -> Repair:
        """Apply the plan, or wait until the process that applies it has done so; an applied one is returned as it is.

        Raises:
            DatabaseUnavailable, LedgerBusy, CommitTooLate: 503; the next call goes on.
        """
        return await self._applications.run(repair_id, partial(self._apply_once, repair_id))

    async def _apply_once(self, repair_id: UUID) -> Repair:
        while True:
            async with self._database.transaction() as session:
                repository = RepairRepository(session)
                is_ours = await repository.claim(repair_id, await self._checker.clock(session), LEASE)
                repair = await repository.get(repair_id)
            if repair.results is not None:
                return repair
            if not is_ours:
                await asyncio.sleep(POLL_SECONDS)
                continue
            try:
                with suppress(LeaseLost):  # this process stood still, and another one has taken over
                    await self._apply(repair)
            except BaseException:
                with suppress(Unavailable):
                    async with self._database.transaction() as session:
                        await RepairRepository(session).release(repair)
                raise

    async def _apply(self, repair: Repair) -> None:
        """Apply it under our lease; raises `LeaseLost` if another process has taken the lease."""
        async with self._database.read() as session:
            findings = await FindingRepository(session).list_by_ids([UUID(one) for one in repair.finding_ids])
            sources = {one.id: one for one in await SourceRepository(session).list_all() if one.enabled}
        plan = Application(repair, {one.id: one for one in findings}, sources)
        files = sorted({one.file_id for one in findings})
        for start in range(0, len(files), self._files_at_once):
            group = files[start : start + self._files_at_once]
            async with self._database.transaction() as session:
                await RepairRepository(session).extend(repair, await self._checker.clock(session) + LEASE)
            await self._check_files(plan, group)
            if repair.action == RepairAction.COMPENSATE:
                await self._compensate(plan, [one for one in findings if one.file_id in group])
        await self._finish(plan)

    async def _check_files(self, plan: Application, group: Sequence[UUID]) -> None:
        """Ask the sources of the findings, and for compensations all others, for the files."""

        async def check(source: Source, file_ids: Sequence[UUID]) -> None:
            if source.id in plan.silent:
                unknown = (FileResult(one, Verdict.UNKNOWN, None, reason="does not respond") for one in file_ids)
                plan.checked |= {(source.id, one.file_id): one for one in unknown}
                return
            with suppress(NotFound):  # the source was deleted meanwhile
                checked = await self._checker.check(source, file_ids, REFRESH)
                plan.checked |= {(source.id, one.file_id): one for one in checked.seen}
                if checked.is_silent:
                    plan.silent.add(source.id)

        named = {(one.source_id, one.file_id) for one in plan.findings.values()}
        is_for_all = plan.repair.action == RepairAction.COMPENSATE
        files = {id_: [one for one in group if is_for_all or (id_, one) in named] for id_ in plan.sources}
        await asyncio.gather(*(check(plan.sources[id_], file_ids) for id_, file_ids in files.items() if file_ids))

    async def _compensate(self, plan: Application, findings: Sequence[Finding]) -> None:
        async with self._database.read() as session:
            recorded = await RepairRepository(session).list_compensations([_key(one.id) for one in findings])
        for finding in findings:
            position = recorded.get(_key(finding.id))
            if position is None:
                plan.reasons[finding.id] = await self._append(plan, finding)
            elif position > plan.compared_through(finding):  # another process has applied this plan, or a part of it
                plan.note_compensation(finding)
            else:
                plan.reasons[finding.id] = COMPENSATED if plan.why_not(finding.id) is None else None

    async def _append(self, plan: Application, finding: Finding) -> str | None:
        """Record the compensation of a finding; returns why it was not recorded."""
        reason = plan.why_not(finding.id) or plan.why_not_compensable(finding.id)
        if reason is not None:
            return reason
        metadata = encode_compensation(finding.id, plan.result_of(finding))
        reason = NOT_RECORDABLE if metadata is None else await self._why_outdated(plan, finding)
        if reason is not None:
            return reason
        type_, key = event_type_of(Kind(finding.kind)), _key(finding.id)
        with suppress(IdempotencyKeyReused):  # another process has recorded it meanwhile, after another file check
            await self._ledger.append([EventRecord(uuid7(), finding.file_id, type_, metadata, REPAIR_SUBJECT, key)])
        plan.note_compensation(finding)
        return None

    async def _why_outdated(self, plan: Application, finding: Finding) -> str | None:
        """Later changes since the file check, which the compensation would undo."""
        keys = [_key(one.id) for one in plan.findings.values() if one.file_id == finding.file_id]
        position = plan.compared_through(finding)
        async with self._database.read() as session:
            current = await FindingRepository(session).list_by_ids([finding.id])
            is_changed = await RepairRepository(session).has_later_event(finding.file_id, position, keys)
            await RepairRepository(session).check_lease(plan.repair)
        if not current:
            return DELETED
        late = "The file has an event that came after the file check." if is_changed else None
        return why_not_open(current[0].state) or late

    async def _finish(self, plan: Application) -> None:
        async with self._database.transaction() as session:
            await SourceRepository(session).lock_all()  # so that no finding is accepted meanwhile
            repair = await RepairRepository(session).check_lease(plan.repair, for_change=True)
            if repair.action == RepairAction.REDELIVER:
                current = await FindingRepository(session).list_by_ids(plan.findings)
                now = {one.id: why_not_open(one.state) for one in current}
                plan.reasons |= {one: plan.why_not(one) or now.get(one, DELETED) for one in plan.findings}
                files = {one.file_id for one in plan.findings.values() if plan.reasons[one.id] is None}
                positions = await RepairRepository(session).list_last_positions(sorted(files))
                pending = await DeliveryRepository(session).mark_events_pending(sorted(positions.values()))
                for one in plan.findings.values():
                    if plan.reasons[one.id] is None and positions.get(one.file_id) not in pending:
                        plan.reasons[one.id] = "There is no delivery of the file's last event."
            repair.results, repair.due_at = plan.results(), None
        self._on_redelivered()


def _key(finding_id: UUID) -> str:
    return f"repair:{finding_id}"


def _digest(action: RepairAction, findings: Sequence[Finding]) -> str:
    named = [(str(one.id), str(one.file_id), one.kind, one.evidence) for one in findings]
    return hashlib.sha256(to_json([action, named])).hexdigest()
