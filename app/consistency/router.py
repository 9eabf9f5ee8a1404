"""Checks, findings and the consistency of files over HTTP."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from app.auth.dependencies import Operator, Reader
from app.auth.route import AuthenticatedRoute
from app.consistency.background import ConsistencyTasks
from app.consistency.check_repository import (
    CheckEnded,
    CheckRepository,
    CheckRunning,
    CheckUnknown,
    NotDeep,
    SourceDisabled,
)
from app.consistency.file_service import FileConsistencyService, FileUnknown, TooManyRefreshes
from app.consistency.finding_repository import FindingRepository, FindingUnknown, NotAcceptable
from app.consistency.schemas import (
    CHECK_ID,
    FINDING_ID,
    Acceptance,
    Accepted,
    BulkAcceptance,
    CheckQuery,
    CheckView,
    FileConsistency,
    FindingQuery,
    FindingView,
    NewCheck,
)
from app.consistency.sources.repository import SourceUnknown
from app.database.sql import read_now
from app.errors import OtherCount
from app.events.listing import check_offset
from app.events.schemas import FILE_ID
from app.http.dependencies import LINK_HEADER, ReadSession, WriteSession, from_state, page_links
from app.http.negotiation import accepts
from app.http.openapi import documented, location_header
from app.http.types import QueryBoolean, Uuid

_COLUMNS = ("id", "source", "file_id", "kind", "state", "expected", "found", "first_seen_at", "last_seen_at")
CSV_COLUMNS = (*_COLUMNS, "resolved_at", "reason", "message")

CheckId = Annotated[Uuid, Path(description="The check's `id`.", examples=[CHECK_ID])]
FindingId = Annotated[Uuid, Path(description="The finding's `id`.", examples=[FINDING_ID])]
FileId = Annotated[Uuid, Path(description="The `file_id` that events name.", examples=[FILE_ID])]

Tasks = Annotated[ConsistencyTasks, from_state("consistency.tasks")]
Files = Annotated[FileConsistencyService, from_state("consistency.files")]

router = APIRouter(tags=["consistency"], route_class=AuthenticatedRoute)


@router.post(
    "/consistency/checks",
    operation_id="createConsistencyCheck",
    summary="Begin a check",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(
        202,
        "The check.",
        SourceUnknown(),
        NotDeep(),
        SourceDisabled(),
        CheckRunning(),
        headers=location_header("check"),
    ),
)
async def create_check(
    new: NewCheck,
    _operator: Operator,
    tasks: Tasks,
    response: Response,
) -> CheckView:
    """Compare the whole inventory of a source, or named files, with the events.

    A background task runs it; another replica continues it when one ends. A difference is `suspected` until a check of
    that file, after the grace period, sees it again.
    """
    check = await tasks.create_check(new)
    response.headers["Location"] = f"checks/{check.id}"
    return CheckView.of_check(check)


@router.get(
    "/consistency/checks",
    operation_id="listConsistencyChecks",
    summary="List checks",
    responses=documented(200, "A page of checks, newest first.", headers=LINK_HEADER),
)
async def list_checks(
    request: Request,
    query: Annotated[CheckQuery, Query()],
    _reader: Reader,
    session: ReadSession,
    response: Response,
) -> list[CheckView]:
    """Checks with their progress, newest first. `offset` is at most 10,000; `Link` continues at any depth."""
    check_offset(query.offset)
    found = await CheckRepository(session).list_newest(
        query.source, limit=query.limit + 1, offset=query.offset, before=query.before
    )
    has_next = len(found) > query.limit
    following = {"before": str(found[query.limit - 1].id)} if has_next else None
    links = page_links(request, limit=query.limit, offset=query.offset, has_next=has_next, following=following)
    response.headers.update(links)
    return [CheckView.of_check(one) for one in found[: query.limit]]


@router.get(
    "/consistency/checks/{check_id:uuid}",
    operation_id="getConsistencyCheck",
    summary="Get a check",
    responses=documented(200, "The check.", CheckUnknown()),
)
async def get_check(check_id: CheckId, _reader: Reader, session: ReadSession) -> CheckView:
    """One check by its id, with its progress."""
    return CheckView.of_check(await CheckRepository(session).get(check_id))


@router.post(
    "/consistency/checks/{check_id:uuid}/cancel",
    operation_id="cancelConsistencyCheck",
    summary="Cancel a check",
    responses=documented(200, "The check as it is now.", CheckUnknown(), CheckEnded()),
)
async def cancel_check(check_id: CheckId, _operator: Operator, session: WriteSession) -> CheckView:
    """Stop a running check. The findings are as if it had never run."""
    return CheckView.of_check(await CheckRepository(session).cancel(check_id, await read_now(session)))


@router.get(
    "/consistency/findings",
    operation_id="listConsistencyFindings",
    summary="List findings",
    response_model=list[FindingView],
    responses=documented(200, "A page of findings, newest first.", headers=LINK_HEADER),
)
async def list_findings(
    request: Request, query: Annotated[FindingQuery, Query()], _reader: Reader, session: ReadSession
) -> Response:
    """Differences between the sources and the events, newest first. `Accept: text/csv` gets the page as CSV."""
    check_offset(query.offset)
    found = await FindingRepository(session).list_newest(
        query, limit=query.limit + 1, offset=query.offset, before=query.before
    )
    has_next = len(found) > query.limit
    following = {"before": str(found[query.limit - 1].id)} if has_next else None
    links = page_links(request, limit=query.limit, offset=query.offset, has_next=has_next, following=following)
    views = [FindingView.of(one) for one in found[: query.limit]]
    headers = {**links, "Vary": "Accept"}
    if accepts(request.headers.getlist("accept"), "text/csv"):
        return Response(_to_csv(views), headers=headers, media_type="text/csv")
    body = b"[%b]" % b",".join(one.model_dump_json().encode() for one in views)
    return Response(body, headers=headers, media_type="application/json")


@router.post(
    "/consistency/findings/{finding_id:uuid}/accept",
    operation_id="acceptConsistencyFinding",
    summary="Accept a finding",
    responses=documented(200, "The finding as it is now.", FindingUnknown(), NotAcceptable()),
)
async def accept_finding(
    finding_id: FindingId, acceptance: Acceptance, _operator: Operator, session: WriteSession
) -> FindingView:
    """Accept a suspected or open finding, with a reason: it never opens again, and resolves when the source agrees."""
    return FindingView.of(await FindingRepository(session).accept(finding_id, acceptance.reason))


@router.post(
    "/consistency/findings/accept",
    operation_id="acceptConsistencyFindings",
    summary="Accept many findings",
    responses=documented(200, "How many were accepted.", OtherCount("1199 suspected or open findings")),
)
async def accept_findings(acceptance: BulkAcceptance, _operator: Operator, session: WriteSession) -> Accepted:
    """Accept all matching suspected and open findings, if `expected` is their number."""
    await FindingRepository(session).accept_all(acceptance.filter, acceptance.expected, acceptance.reason)
    return Accepted(accepted=acceptance.expected)


@router.get(
    "/files/{file_id:uuid}/consistency",
    operation_id="getFileConsistency",
    summary="Get the consistency of a file",
    responses=documented(200, "The verdict of each source.", FileUnknown(), TooManyRefreshes()),
)
async def get_file_consistency(
    file_id: FileId,
    reader: Reader,
    files: Files,
    refresh: Annotated[QueryBoolean, Query(description="Ask the enabled sources now, within 10 seconds.")] = False,
) -> FileConsistency:
    """How each source compares with the events of the file, by the last check that compared them.

    `inconsistent`: it differed, even if the finding is suspected or accepted. `consistent`: it agreed, and the file
    has no later event. `in_flight`: the source may not have applied the last event yet. `unknown`: never checked, or
    the source could not be asked.
    """
    return await (files.refresh(file_id, reader.subject) if refresh else files.read(file_id))


def _to_csv(views: Sequence[FindingView]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CSV_COLUMNS)
    writer.writeheader()
    for view in views:
        row = view.model_dump(mode="json", exclude={"evidence"})
        writer.writerow({**row, **{side: json.dumps(value) for side, value in view.evidence.items()}})
    return text.getvalue()
