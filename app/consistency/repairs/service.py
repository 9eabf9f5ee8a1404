"""Plans repairs, and applies each plan once, after another look at each finding."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from uuid_utils.compat import uuid7

from app.concurrency.single_flight import SingleFlight
from app.consistency.finding_repository import FindingFilter, FindingRepository, Seen
from app.consistency.ledger_repository import LedgerRepository
from app.consistency.look import Looker
from app.consistency.models import REPAIR_SUBJECT, Finding, FindingState, Kind, Repair, RepairAction, Source
from app.consistency.repairs.decision import (
    NOT_RECORDABLE,
    encode_compensation,
    event_type_of,
    why_agreeing,
    why_not_standing,
)
from app.consistency.repairs.repository import RepairRepository
from app.consistency.repairs.schemas import RepairResult
from app.consistency.sources.question import REFRESH
from app.consistency.sources.repository import SourceRepository
from app.database.engine import Database
from app.deliveries.fan_out import DeliveryRepository
from app.errors import NotFound, Unavailable, Unprocessable
from app.events.group import EventRecord, IdempotencyKeyReused
from app.events.ledger import Ledger

MAX_PLANNED = 1000
FILES_AT_ONCE = 250
LEASE = timedelta(minutes=2)  # longer than the looks at 1000 files may take
POLL_SECONDS = 0.1
COMPENSATED = "The finding was compensated before, and the source differs again: accept it."


class NotCompensable(Unprocessable):
    """422: the plan holds findings that no event can repair."""

    code = "not-compensable"


class RepairService:
    """Calls `on_redelivered` after deliveries were made pending."""

    def __init__(
        self, database: Database, ledger: Ledger, looker: Looker, *, on_redelivered: Callable[[], None] = lambda: None
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._looker = looker
        self._on_redelivered = on_redelivered
        self._applications: SingleFlight[UUID, Repair] = SingleFlight("consistency-repair")

    def close(self) -> None:
        """Cancel what is being applied; another call goes on."""
        self._applications.close()

    async def plan(self, wanted: FindingFilter, action: RepairAction) -> tuple[Repair, list[Finding]]:
        """Plan to repair the newest open findings that match.

        Raises:
            NotCompensable: 422.
        """
        async with self._database.transaction() as session:
            findings: list[Finding] = []
            if wanted.state in {None, FindingState.OPEN}:
                is_open = replace(wanted, state=FindingState.OPEN)
                findings += await FindingRepository(session).list_newest(is_open, limit=MAX_PLANNED, offset=0)
            if action is RepairAction.COMPENSATE:
                _check_compensable(findings, await SourceRepository(session).list_all())
            repair = Repair(
                id=uuid7(),
                action=action,
                digest=_digest(action, findings),
                finding_ids=[str(one.id) for one in findings],
                created_at=await self._looker.clock(session),
                due_at=None,
                results=None,
            )
            await RepairRepository(session).add(repair)
        return repair, findings

    async def get(self, repair_id: UUID) -> Repair:
        """The plan.

        Raises:
            NotFound: 404.
        """
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
                is_ours = await repository.claim(repair_id, await self._looker.clock(session), LEASE)
                repair = await repository.get(repair_id)
            if repair.results is not None:
                return repair
            if is_ours:
                break
            await asyncio.sleep(POLL_SECONDS)
        try:
            await self._apply(repair)
        except BaseException:
            with suppress(Unavailable):
                async with self._database.transaction() as session:
                    await RepairRepository(session).release(repair_id)
            raise
        return await self.get(repair_id)

    async def _apply(self, repair: Repair) -> None:
        async with self._database.read() as session:
            findings = await FindingRepository(session).list_by_ids([UUID(one) for one in repair.finding_ids])
            sources = {one.id: one for one in await SourceRepository(session).list_all() if one.enabled}
        plan = _Application(repair, {one.id: one for one in findings}, sources)
        await self._look(plan)
        if repair.action == RepairAction.COMPENSATE:
            await self._compensate(plan)
        await self._finish(plan)

    async def _look(self, plan: "_Application") -> None:
        """Ask the sources of the findings, and for compensations all others, for the files."""

        async def look(source: Source, file_ids: Sequence[UUID]) -> None:
            for start in range(0, len(file_ids), FILES_AT_ONCE):
                with suppress(NotFound):  # the source was deleted meanwhile
                    seen = (await self._looker.look(source, file_ids[start : start + FILES_AT_ONCE], REFRESH)).seen
                    plan.looks |= {(source.id, one.file_id): one for one in seen}

        ours = plan.repair.action == RepairAction.REDELIVER
        files = {
            source_id: {one.file_id for one in plan.findings.values() if not ours or one.source_id == source_id}
            for source_id in plan.sources
        }
        await asyncio.gather(*(look(source, sorted(files[source_id])) for source_id, source in plan.sources.items()))

    async def _compensate(self, plan: "_Application") -> None:
        keys = {f"repair:{one}": one for one in plan.findings}
        async with self._database.read() as session:
            recorded = await LedgerRepository(session).list_compensations(list(keys))
        records: dict[UUID, EventRecord] = {}
        for key, finding_id in keys.items():
            if key in recorded:
                plan.reasons[finding_id] = COMPENSATED if plan.why_not(finding_id) is None else None
                continue
            reason = plan.why_not(finding_id) or plan.why_not_compensable(finding_id)
            finding = plan.findings[finding_id]
            metadata = encode_compensation(finding_id, plan.look_of(finding).found) if reason is None else None
            plan.reasons[finding_id] = reason or (NOT_RECORDABLE if metadata is None else None)
            if metadata is not None:
                plan.compensated.add((finding.file_id, finding.kind))
                type_ = event_type_of(Kind(finding.kind))
                records[finding_id] = EventRecord(uuid7(), finding.file_id, type_, metadata, REPAIR_SUBJECT, key)
        for finding_id, record in records.items():
            try:
                await self._ledger.append([record])
            except IdempotencyKeyReused:
                plan.reasons[finding_id] = COMPENSATED

    async def _finish(self, plan: "_Application") -> None:
        async with self._database.transaction() as session:
            repair = await RepairRepository(session).get(plan.repair.id, for_change=True)
            if repair.results is not None:  # the lease had ended, and another process was faster
                return
            if repair.action == RepairAction.REDELIVER:
                plan.reasons |= {one: plan.why_not(one) for one in plan.findings}
                files = {one.file_id for one in plan.findings.values() if plan.reasons[one.id] is None}
                positions = await LedgerRepository(session).list_last_positions(sorted(files))
                told = await DeliveryRepository(session).mark_events_pending(sorted(positions.values()))
                for one in plan.findings.values():
                    if plan.reasons[one.id] is None and positions.get(one.file_id) not in told:
                        plan.reasons[one.id] = "There is no delivery of the file's last event."
            repair.results, repair.due_at = plan.results(), None
        self._on_redelivered()


class _Application:
    """The state of one application. `reasons` says for each finding why it is skipped, None: it is repaired."""

    def __init__(self, repair: Repair, findings: dict[UUID, Finding], sources: dict[UUID, Source]) -> None:
        self.repair = repair
        self.findings = findings
        self.sources = sources
        self.looks: dict[tuple[UUID, UUID], Seen] = {}  # by source and file
        self.reasons: dict[UUID, str | None] = {}
        self.compensated: set[tuple[UUID, str]] = set()

    def look_of(self, finding: Finding) -> Seen:
        """The look at the file at the source of the finding."""
        return self.looks[finding.source_id, finding.file_id]

    def why_not(self, finding_id: UUID) -> str | None:
        """Why the finding is not repaired: it is not open, or does not stand."""
        finding = self.findings[finding_id]
        if finding.state != FindingState.OPEN:
            return f"The finding is {finding.state}."
        if (finding.source_id, finding.file_id) not in self.looks:
            return "The source is disabled or deleted."
        return why_not_standing(Kind(finding.kind), self.look_of(finding))

    def why_not_compensable(self, finding_id: UUID) -> str | None:
        """Why no event may say what the source of the finding holds: another source agrees with the ledger."""
        finding = self.findings[finding_id]
        kind = Kind(finding.kind)
        if kind in {Kind.MISSING, Kind.ORPHANED} and (finding.file_id, kind) in self.compensated:
            return "An event of this repair says the same of the file."
        for source in self.sources.values():
            if source.id == finding.source_id:
                continue
            other = self.looks.get((source.id, finding.file_id))
            reason = None if other is None else why_agreeing(kind, self.look_of(finding), other)
            if reason is not None:
                return f"The source {source.id} {reason}."
        return None

    def results(self) -> list[dict[str, Any]]:
        """What became of each finding of the plan, in its order."""
        results = []
        for finding_id in map(UUID, self.repair.finding_ids):
            reason = self.reasons.get(finding_id, "The source of the finding was deleted.")
            outcome = "applied" if reason is None else "skipped"
            results.append(RepairResult(finding=finding_id, outcome=outcome, reason=reason).model_dump(mode="json"))
        return results


def _check_compensable(findings: Sequence[Finding], sources: Sequence[Source]) -> None:
    """Raise for a plan with findings that no event can repair."""
    cloud = {one.id for one in sources if one.kind == "cloud"}
    if any(one.kind == Kind.STALE for one in findings):
        raise NotCompensable("A finding of kind stale cannot be compensated: only the source can catch up.")
    if any(one.kind == Kind.MISSING_BLOCK and one.source_id in cloud for one in findings):
        raise NotCompensable("A missing block of a source of kind cloud cannot be compensated: its own list names it.")


def _digest(action: RepairAction, findings: Sequence[Finding]) -> str:
    named = [(str(one.id), str(one.file_id), one.kind, one.evidence) for one in findings]
    return hashlib.sha256(to_json([action, named])).hexdigest()
