"""Checks, findings and verdicts as JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, JsonValue, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.consistency.models import Check, CheckState, Finding, FindingState, Kind, Verdict
from app.consistency.sources.request import SUBSET_PATTERN, BlockSubset
from app.consistency.sources.schemas import SOURCE_ID
from app.events.schemas import FILE_ID
from app.http.types import MAX_EXACT_INTEGER, BodyInteger, Input, QueryInteger, Uuid, examples

MAX_FILES = 1000

# In the documentation.
CHECK_ID = "019376b1-2d3e-7f40-9b5c-6d7e8f9a0b1c"
FINDING_ID = "019376b2-3e4f-7051-8c6d-7e8f9a0b1c2d"
_AT = "2026-01-15T10:30:00Z"
_CHECK: dict[str, JsonValue] = {
    "id": CHECK_ID,
    "source": SOURCE_ID,
    "state": "complete",
    "reason": None,
    "position": 4711,
    "compared": 1198,
    "of": 1200,
    "in_flight": 2,
    "counts": {"missing": 1},
    "started_at": _AT,
    "ended_at": "2026-01-15T10:30:02Z",
}
_EVIDENCE: dict[str, JsonValue] = {"expected": {"exists": True}, "found": {"exists": False}}
FINDING: dict[str, JsonValue] = {
    "id": FINDING_ID,
    "source": SOURCE_ID,
    "file_id": FILE_ID,
    "kind": "missing",
    "state": "open",
    "evidence": _EVIDENCE,
    "first_seen_at": _AT,
    "last_seen_at": "2026-01-15T10:35:00Z",
    "resolved_at": None,
    "reason": None,
    "message": "By its events the file exists, but the source does not hold it.",
}
_VERDICT: JsonValue = {"source": SOURCE_ID, "verdict": "inconsistent", "seen_at": _AT, "evidence": _EVIDENCE}

MESSAGES = {
    Kind.MISSING: "By its events the file exists, but the source does not hold it.",
    Kind.ORPHANED: "The source holds the file, but by its events it does not exist.",
    Kind.MISSING_BLOCK: "The source lacks blocks that the file's events, or its own list, name.",
    Kind.ORPHANED_BLOCK: "The source holds blocks that the file's events do not name.",
    Kind.STALE: "The source has not yet seen the file's last event.",
    Kind.WRONG_SIZE: "The size that the source gives differs from that in the file's events.",
    Kind.WRONG_HASH: "The SHA-256 that the source gives differs from that in the file's events.",
}

Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class CheckScope(Input):
    """All files, or the named ones."""

    all: Literal[True] | None = Field(None, description="Compare the whole inventory.")
    file_ids: list[Uuid] | None = Field(
        None, min_length=1, max_length=MAX_FILES, description="Ask only for these files, immediately."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.all is None) == (self.file_ids is None):
            raise PydanticCustomError("check_scope", "Send either `all` or `file_ids`")
        return self


def _part_of_all(text: str) -> str:
    try:
        BlockSubset.parse(text)
    except ValueError:
        raise PydanticCustomError("deep_part", "k must be at most n") from None
    return text


class NewCheck(Input):
    """A check to begin."""

    model_config = examples(
        {"source": SOURCE_ID, "scope": {"all": True}}, {"source": SOURCE_ID, "scope": {"file_ids": [FILE_ID]}}
    )

    source: Uuid = Field(description="The source's id.")
    scope: CheckScope
    accept_shrink: bool = Field(
        False, strict=True, description="Believe a listing that lacks more than 5 % (and more than 10) of the files."
    )

    deep: Annotated[str, Field(pattern=SUBSET_PATTERN), AfterValidator(_part_of_all)] | None = Field(
        None, description="`k/n`: read and hash this part of the blocks; kind `cloud` only.", examples=["1/7"]
    )


class CheckView(BaseModel):
    """A check and its progress."""

    model_config = examples(_CHECK)

    id: UUID
    source: UUID
    state: CheckState = Field(description="Only a `complete` inventory changes findings.")
    reason: str | None = Field(description="Why it is incomplete or suspect.")
    position: int | None = Field(description="Position at which the check compares; null before it has begun.")
    compared: int
    of: int | None = Field(description="Files of the source, or named files; null when unknown.")
    in_flight: int = Field(
        description="Files that were not compared, because the source may not have applied their last event yet."
    )
    counts: dict[str, int] = Field(description="Differences by kind.")
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def of_check(cls, check: Check) -> Self:
        """The view of a stored check."""
        fields = {name: getattr(check, name) for name in cls.model_fields if name not in {"source", "of"}}
        return cls.model_validate({**fields, "source": check.source_id, "of": check.total})


class CheckQuery(BaseModel):
    """A part of the list of checks, newest first."""

    source: Uuid | None = Field(None, description="Only checks of this source.")
    limit: QueryInteger = Field(10, ge=1, le=100, description="Number of checks to return.")
    offset: QueryInteger = Field(0, ge=0, le=MAX_EXACT_INTEGER, description="Number of checks to skip, at most 10,000.")
    before: Uuid | None = Field(None, description="Only checks older than this one, as `Link` has it.")


class FindingView(BaseModel):
    """How a source differs from the ledger about one file."""

    model_config = examples(FINDING)

    id: UUID
    source: UUID
    file_id: UUID
    kind: Kind
    state: FindingState = Field(
        description="`suspected` until a check of the file after the grace period confirms it; then `open`."
    )
    evidence: dict[str, Any] = Field(description="`expected` by the events and `found` at the source.")
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    reason: str | None = Field(description="Why an operator accepted it.")
    message: str = Field(description="The finding as a sentence.")

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """The view of a stored finding."""
        fields = {name: getattr(finding, name) for name in cls.model_fields if name not in {"source", "message"}}
        message = MESSAGES[Kind(finding.kind)]
        return cls.model_validate({**fields, "source": finding.source_id, "message": message})


class Filter(Input):
    """A filter of findings; an absent member matches any."""

    state: FindingState | None = Field(None, description="Only findings in this state.")
    kind: Kind | None = Field(None, description="Only findings of this kind.")
    source: Uuid | None = Field(None, description="Only findings of this source.")
    file_id: Uuid | None = Field(None, description="Only findings about this file.")


class FindingQuery(Filter):
    """A part of the list of findings, newest first."""

    limit: QueryInteger = Field(100, ge=1, le=1000, description="Number of findings to return.")
    offset: QueryInteger = Field(
        0, ge=0, le=MAX_EXACT_INTEGER, description="Number of findings to skip, at most 10,000."
    )
    before: Uuid | None = Field(None, description="Only findings older than this one, as `Link` has it.")


class Acceptance(Input):
    """Why the difference is right as it is."""

    model_config = examples({"reason": "deleted before the ledger began"})

    reason: Reason = Field(description="Shown with the finding.")


class BulkAcceptance(Input):
    """The findings to accept, their number, and the reason."""

    model_config = examples(
        {"filter": {"kind": "orphaned"}, "expected": 1200, "reason": "deleted before the ledger began"}
    )

    filter: Filter = Field(description="The matching suspected and open findings are accepted.")
    expected: BodyInteger = Field(
        ge=0, le=MAX_EXACT_INTEGER, description="Number of matches; if it differs, nothing is done."
    )
    reason: Reason = Field(description="Shown with each finding.")


class Accepted(BaseModel):
    """The number of accepted findings."""

    model_config = examples({"accepted": 1200})

    accepted: int


class SourceVerdict(BaseModel):
    """The state of the file at one source."""

    source: UUID
    verdict: Verdict
    seen_at: datetime | None
    evidence: dict[str, Any] | None


class FileConsistency(BaseModel):
    """Whether the sources hold the file as its events say."""

    model_config = examples({"file_id": FILE_ID, "sources": [_VERDICT]})

    file_id: UUID
    sources: list[SourceVerdict]


def merge_evidence(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The evidence of several findings about one file, as one; None without any."""
    merged: dict[str, dict[str, Any]] = {"expected": {}, "found": {}}
    for piece in pieces:
        for side, values in merged.items():
            for name, value in piece[side].items():
                values[name] = values[name] + value if name in {"blocks", "block_count"} & values.keys() else value
    return merged if pieces else None
