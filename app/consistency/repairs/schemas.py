"""Plans of repairs and their results as JSON."""

from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.consistency.models import Finding, Repair, RepairAction
from app.consistency.schemas import FINDING, FINDING_ID, Filter, FindingView
from app.http.types import Input

REPAIR_ID = "019376b3-4f50-7162-9d7e-8f9a0b1c2d3e"
_PLANNED: dict[str, JsonValue] = {"id": REPAIR_ID, "digest": "9f" * 32, "action": "compensate"}
_APPLIED: JsonValue = {"finding": FINDING_ID, "outcome": "applied", "reason": None}


class NewRepair(Input):
    """The findings to repair, and the action."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"filter": {"kind": "missing"}, "action": "compensate", "dry_run": True}]}
    )

    filter: Filter = Field(description="The newest 1000 matching open findings are planned.")
    action: RepairAction = Field(
        description="`redeliver`: deliver the last event of each file again. `compensate`: record an event with "
        "the state of the source."
    )
    dry_run: Literal[True] = Field(True, description="Nothing is done before the plan is applied.")


class RepairPlan(BaseModel):
    """A planned repair."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_PLANNED, "findings": [FINDING]}]})

    id: UUID
    digest: str = Field(description="Names the plan; the `If-Match` of its application.")
    action: RepairAction
    findings: list[FindingView]

    @classmethod
    def of(cls, repair: Repair, findings: list[Finding]) -> Self:
        """The view of a stored plan."""
        views = [FindingView.of(one) for one in findings]
        return cls(id=repair.id, digest=repair.digest, action=RepairAction(repair.action), findings=views)


class RepairResult(BaseModel):
    """The outcome for one finding of the plan."""

    finding: UUID
    outcome: Literal["applied", "skipped"]
    reason: str | None = Field(None, description="Why it was skipped.")


class AppliedRepair(BaseModel):
    """The results of an applied repair."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"examples": [{**_PLANNED, "results": [_APPLIED]}]}
    )

    id: UUID
    digest: str
    action: RepairAction
    results: list[RepairResult]
