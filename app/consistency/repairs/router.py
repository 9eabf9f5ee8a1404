"""Repairs over HTTP: a plan, and its application."""

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.auth.dependencies import Operator
from app.auth.route import AuthenticatedRoute
from app.consistency.models import Finding, Repair, RepairAction
from app.consistency.repairs.decision import NotCompensable
from app.consistency.repairs.repository import RepairUnknown
from app.consistency.repairs.service import RepairService
from app.consistency.schemas import FINDING, FINDING_ID, Filter, FindingView
from app.errors import ProblemError
from app.http.dependencies import ENTITY_TAGS, ETAG_HEADER, PreconditionFailed, from_state, read_condition
from app.http.openapi import documented
from app.http.types import Input, Uuid, examples

REPAIR_ID = "019376b3-4f50-7162-9d7e-8f9a0b1c2d3e"
_PLANNED: dict[str, JsonValue] = {"id": REPAIR_ID, "digest": "9f" * 32, "action": "compensate"}
_APPLIED: JsonValue = {"finding": FINDING_ID, "outcome": "applied", "reason": None}


class NewRepair(Input):
    """The findings to repair, and the action."""

    model_config = examples({"filter": {"kind": "missing"}, "action": "compensate", "dry_run": True})

    filter: Filter = Field(description="The newest 1000 matching open findings are planned.")
    action: RepairAction = Field(
        description="`redeliver`: deliver the last event of each file again. `compensate`: record an event with "
        "the state of the source."
    )
    dry_run: Literal[True] = Field(True, description="Nothing is done before the plan is applied.")


class RepairPlan(BaseModel):
    """A planned repair."""

    model_config = examples({**_PLANNED, "findings": [FINDING]})

    id: UUID
    digest: str = Field(description="Names the plan. In quotes it is the `ETag`, the `If-Match` of the application.")
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

    model_config = ConfigDict(from_attributes=True, **examples({**_PLANNED, "results": [_APPLIED]}))

    id: UUID
    digest: str
    action: RepairAction
    results: list[RepairResult]


# Declared here and not in the signature, since its absence is 428 and not 422.
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The `ETag` of the plan; `*` names no plan.",
    "schema": {"type": "string", "pattern": ENTITY_TAGS},
}


class PreconditionRequired(ProblemError):
    status, code = 428, "precondition-required"
    detail = "Send the plan's ETag as If-Match: it names the plan to apply."


class OtherPlan(PreconditionFailed):
    detail = "The plan has another digest."


RepairId = Annotated[Uuid, Path(description="The repair's `id`.", examples=[REPAIR_ID])]
Repairs = Annotated[RepairService, from_state("consistency.repairs")]

router = APIRouter(prefix="/consistency/repairs", tags=["consistency"], route_class=AuthenticatedRoute)


@router.post(
    "",
    operation_id="planConsistencyRepair",
    summary="Plan a repair",
    status_code=status.HTTP_201_CREATED,
    responses=documented(
        201, "The plan.", NotCompensable("A finding of kind stale cannot be compensated."), headers=ETAG_HEADER
    ),
)
async def plan_repair(new: NewRepair, _operator: Operator, repairs: Repairs, response: Response) -> RepairPlan:
    """Plan the repair of open findings; nothing is done before the plan is applied.

    `redeliver` delivers the last event of each file again. `compensate` records an event with the state of the source,
    unless another enabled source agrees with the events.
    """
    repair, findings = await repairs.plan(new.filter, new.action)
    response.headers["ETag"] = f'"{repair.digest}"'
    return RepairPlan.of(repair, findings)


@router.post(
    "/{repair_id:uuid}/apply",
    operation_id="applyConsistencyRepair",
    summary="Apply a repair",
    responses=documented(
        200,
        "What became of each finding; the second time the same.",
        RepairUnknown(),
        OtherPlan(),
        PreconditionRequired(),
    ),
    openapi_extra={"parameters": [_IF_MATCH]},
)
async def apply_repair(repair_id: RepairId, _operator: Operator, repairs: Repairs, request: Request) -> AppliedRepair:
    """Check the file of each finding again, and repair the findings that still hold. A plan acts only once."""
    repair = await repairs.get(repair_id)
    if "if-match" not in request.headers:
        raise PreconditionRequired
    if not read_condition(request).names(f'"{repair.digest}"'):
        raise OtherPlan
    return AppliedRepair.model_validate(await repairs.apply(repair_id))
