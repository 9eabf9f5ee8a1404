"""Which findings of a plan are repaired, after another check of their files, and by which event; pure."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from app.consistency.comparison import NOT_STORABLE, Block, Expected, Facts
from app.consistency.finding_repository import FileResult
from app.consistency.models import Finding, FindingState, Kind, Repair, Source, Verdict
from app.errors import Unprocessable
from app.events.models import EventType
from app.events.schemas import Metadata

NOT_RECORDABLE = (
    "The values that the source holds cannot be metadata of an event: over 16 KiB, or with a NUL character."
)
DELETED = "The source of the finding was deleted."
_METADATA: TypeAdapter[str] = TypeAdapter(Metadata)


class NotCompensable(Unprocessable):
    """422: the plan holds findings that no event can repair."""

    code = "not-compensable"


def check_compensable(findings: Sequence[Finding], sources: Sequence[Source]) -> None:
    """Refuse a plan with findings that no event can repair; raises `NotCompensable` (422)."""
    cloud = {one.id for one in sources if one.kind == "cloud"}
    if any(one.kind == Kind.STALE for one in findings):
        raise NotCompensable("A finding of kind stale cannot be compensated: only the source can catch up.")
    if any(one.kind == Kind.MISSING_BLOCK and one.source_id in cloud for one in findings):
        raise NotCompensable("A missing block of a source of kind cloud cannot be compensated: its own list names it.")


def _why_not_standing(kind: Kind, seen: FileResult) -> str | None:
    """Why a finding does not stand any more after another check of its file; None: it does."""
    if seen.differences is None:
        if seen.verdict is Verdict.IN_FLIGHT:
            return "The file has events that the source need not know yet."
        return f"The source {seen.reason or 'could not be asked'}."
    return None if kind in seen.differences else "The source agrees with the events now."


def _why_agreeing(kind: Kind, seen: FileResult, other: FileResult) -> str | None:
    """Why another source counts as one that agrees with the ledger about a finding; None: it does not agree.

    `seen` is the result at the source of the finding.
    """
    if other.differences is None:
        return "could not be compared, which counts as agreement with the events"
    agrees = seen.expected is not None and _agrees(kind, seen.expected, seen.found, other.found)
    return "agrees with the events" if agrees else None


def _agrees(kind: Kind, expected: Expected, found: Facts | None, other: Facts | None) -> bool:
    if kind is Kind.MISSING or kind is Kind.ORPHANED:
        return (other is not None) == expected.exists
    if other is None or found is None:
        return False
    ours, theirs, others = expected.facts.blocks or {}, found.blocks or {}, other.blocks
    if kind is Kind.MISSING_BLOCK:
        return others is not None and bool((ours.keys() - theirs.keys()) & others.keys())
    if kind is Kind.ORPHANED_BLOCK:
        return others is not None and bool((theirs.keys() - ours.keys()) - others.keys())
    read = attrgetter("size" if kind is Kind.WRONG_SIZE else "sha256")
    values = [(read(expected.facts), read(found), read(other))]
    values += [(read(block), _read(read, theirs, one), _read(read, others or {}, one)) for one, block in ours.items()]
    return any(None not in trio and trio[0] != trio[1] and trio[0] == trio[2] for trio in values)


def _read(read: Any, blocks: Mapping[str, Block], block_id: str) -> Any:
    return read(blocks[block_id]) if block_id in blocks else None


def event_type_of(kind: Kind) -> EventType:
    """The event that makes the ledger agree with the source."""
    return {Kind.MISSING: EventType.DELETE, Kind.ORPHANED: EventType.UPLOAD}.get(kind, EventType.UPDATE)


def encode_compensation(finding_id: UUID, seen: FileResult) -> str | None:
    """The metadata of a compensation: what the source holds. None when an event cannot have them."""
    metadata: dict[str, Any] = {"compensates": str(finding_id)}
    found = seen.found
    if found is not None:
        if any(NOT_STORABLE.search(one) for one in found.blocks or ()):
            return None
        known = seen.expected.facts.blocks if seen.expected is not None else None
        values = {"size": found.size, "sha256": found.sha256, "blocks": _list_blocks(found.blocks, known or {})}
        metadata |= {name: value for name, value in values.items() if value is not None}
    try:
        return _METADATA.validate_python(metadata)
    except ValidationError:
        return None


def _list_blocks(blocks: Mapping[str, Block] | None, known: Mapping[str, Block]) -> list[dict[str, Any]] | None:
    """The blocks, with `known` values where the source gives none: the list replaces the ledger's."""
    if blocks is None:
        return None
    rows = []
    for one, block in blocks.items():
        ours = known.get(one, Block())
        size, sha256 = (ours.size if block.size is None else block.size), block.sha256 or ours.sha256
        rows.append({"id": one, "size": size, "sha256": sha256})
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


class Application:
    """The state of one application. `reasons` has for each finding why it is skipped, None: it is repaired."""

    def __init__(self, repair: Repair, findings: dict[UUID, Finding], sources: dict[UUID, Source]) -> None:
        self.repair = repair
        self.findings = findings
        self.sources = sources
        self.checked: dict[tuple[UUID, UUID], FileResult] = {}  # by source and file
        self.reasons: dict[UUID, str | None] = {}
        self.compensated: set[tuple[UUID, str]] = set()
        self.silent: set[UUID] = set()  # sources that are not asked any more

    def result_of(self, finding: Finding) -> FileResult:
        """The result for the file at the source of the finding."""
        return self.checked[finding.source_id, finding.file_id]

    def compared_through(self, finding: Finding) -> int:
        """The position of the file's last event that the check at the source of the finding knew; 0: of none."""
        seen = self.checked.get((finding.source_id, finding.file_id))
        return (seen.position or 0) if seen is not None else 0

    def note_compensation(self, finding: Finding) -> None:
        """The finding is repaired."""
        self.reasons[finding.id] = None
        self.compensated.add((finding.file_id, finding.kind))

    def why_not(self, finding_id: UUID) -> str | None:
        """Why the finding is not repaired: it is not open, or does not stand."""
        finding = self.findings[finding_id]
        if finding.state == FindingState.OPEN and (finding.source_id, finding.file_id) not in self.checked:
            return "The source is disabled or deleted."
        return why_not_open(finding.state) or _why_not_standing(Kind(finding.kind), self.result_of(finding))

    def why_not_compensable(self, finding_id: UUID) -> str | None:
        """Why the finding may not be compensated: another source agrees with the ledger about a value of the event."""
        finding = self.findings[finding_id]
        kind = Kind(finding.kind)
        if kind in {Kind.MISSING, Kind.ORPHANED} and (finding.file_id, kind) in self.compensated:
            return "An event of this repair says the same of the file."
        seen = self.result_of(finding)
        others = sorted((seen.differences or {}).keys() - {kind, Kind.STALE})
        for source_id in self.sources:
            other = self.checked.get((source_id, finding.file_id))
            if source_id == finding.source_id or other is None:
                continue
            for one in (kind, *others):
                reason = _why_agreeing(one, seen, other)
                if reason is not None:
                    return f"The source {source_id} {reason}{'' if one is kind else f' about the {one}'}."
        return None

    def results(self) -> list[dict[str, Any]]:
        """The outcome for each finding of the plan, in its order."""
        results = []
        for finding_id in map(UUID, self.repair.finding_ids):
            reason = self.reasons.get(finding_id, DELETED)
            outcome = "applied" if reason is None else "skipped"
            results.append({"finding": str(finding_id), "outcome": outcome, "reason": reason})
        return results


def why_not_open(state: str) -> str | None:
    """Why a finding in this state is not repaired; None: it is open."""
    return None if state == FindingState.OPEN else f"The finding is {state}."
