"""Sources, checks, findings, repairs and verdicts, as types.

States, kinds and verdicts are plain texts, because a newer service may have more of them.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime

from sync_client.models import ResponseModel


class Source(ResponseModel):
    """A service to compare with. `header_names` is None when the service cannot decrypt the headers."""

    id: UUID
    name: str
    kind: str
    url: str
    header_names: tuple[str, ...] | None
    grace_seconds: int
    enabled: bool
    created_at: AwareDatetime


class SourceTest(ResponseModel):
    """The source's response to a request for one item; `ok` when it keeps to the contract."""

    ok: bool
    status_code: int | None
    duration_ms: int
    error: str | None
    total: int | None
    watermark: int | None
    response: str


class Check(ResponseModel):
    """A check and its progress: `compared` files of `of`; `counts` are the differences by kind.

    `state` is `running`, `complete`, `incomplete`, `suspect` or `cancelled`; `reason` is why it is not complete.
    """

    id: UUID
    source: UUID
    state: str
    reason: str | None
    position: int | None
    compared: int
    of: int | None
    in_flight: int
    counts: dict[str, int]
    started_at: AwareDatetime
    ended_at: datetime | None


class Finding(ResponseModel):
    """How a source differs from the ledger about one file; `message` describes it in a sentence."""

    id: UUID
    source: UUID
    file_id: UUID
    kind: str
    state: str
    evidence: dict[str, Any]
    first_seen_at: AwareDatetime
    last_seen_at: AwareDatetime
    resolved_at: datetime | None
    reason: str | None
    message: str


class RepairPlan(ResponseModel):
    """A planned repair; nothing is done before it is applied."""

    id: UUID
    digest: str
    action: str
    findings: tuple[Finding, ...]


class RepairResult(ResponseModel):
    """The outcome for one finding: `applied`, or `skipped` for the `reason`."""

    finding: UUID
    outcome: str
    reason: str | None = None


class AppliedRepair(ResponseModel):
    """The results of a repair."""

    id: UUID
    digest: str
    action: str
    results: tuple[RepairResult, ...]


class FileVerdict(ResponseModel):
    """The state of a file at one source: `consistent`, `inconsistent`, `in_flight` or `unknown`."""

    source: UUID
    verdict: str
    seen_at: datetime | None
    evidence: dict[str, Any] | None


class FileConsistency(ResponseModel):
    """Whether the sources hold a file as its events say."""

    file_id: UUID
    sources: tuple[FileVerdict, ...]
