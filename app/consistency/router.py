"""Checks over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from app.auth.dependencies import Operator, Reader
from app.auth.route import AuthenticatedRoute
from app.consistency.check_repository import UNKNOWN_CHECK, CheckEnded, CheckRepository, CheckRunning
from app.consistency.errors import NotDeep, SourceDisabled
from app.consistency.examples import CHECK_ID
from app.consistency.schemas import CheckQuery, CheckView, NewCheck
from app.consistency.service import ConsistencyService
from app.consistency.sources.repository import UNKNOWN_SOURCE
from app.errors import NotFound
from app.http.dependencies import LINK_HEADER, ReadSession, from_state, page_links
from app.http.openapi import documented, location_header
from app.http.types import Uuid

NO_SOURCE = NotFound(UNKNOWN_SOURCE)

CheckId = Annotated[Uuid, Path(description="The check's `id`.", examples=[CHECK_ID])]


Consistency = Annotated[ConsistencyService, from_state("consistency.service")]

router = APIRouter(tags=["consistency"], route_class=AuthenticatedRoute)


@router.post(
    "/consistency/checks",
    operation_id="createConsistencyCheck",
    summary="Begin a check",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(
        202, "The check.", NO_SOURCE, NotDeep(), SourceDisabled(), CheckRunning(), headers=location_header("check")
    ),
)
async def create_check(
    new: NewCheck,
    _operator: Operator,
    consistency: Consistency,
    response: Response,
) -> CheckView:
    """Compare the whole inventory of a source, or named files, with the events.

    A background task runs it; another replica continues it when one ends. A difference is `suspected` until a look at
    that file, after the grace period, sees it again.
    """
    check = await consistency.create_check(new)
    response.headers["Location"] = f"/consistency/checks/{check.id}"
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
    """Checks with their progress, newest first."""
    found = await CheckRepository(session).list_newest(query.source, limit=query.limit + 1, offset=query.offset)
    links = page_links(request, limit=query.limit, offset=query.offset, has_next=len(found) > query.limit)
    response.headers.update(links)
    return [CheckView.of_check(one) for one in found[: query.limit]]


@router.get(
    "/consistency/checks/{check_id:uuid}",
    operation_id="getConsistencyCheck",
    summary="Get a check",
    responses=documented(200, "The check.", NotFound(UNKNOWN_CHECK)),
)
async def get_check(check_id: CheckId, _reader: Reader, session: ReadSession) -> CheckView:
    """One check by its id, with its progress."""
    return CheckView.of_check(await CheckRepository(session).get(check_id))


@router.post(
    "/consistency/checks/{check_id:uuid}/cancel",
    operation_id="cancelConsistencyCheck",
    summary="Cancel a check",
    responses=documented(200, "The check as it is now.", NotFound(UNKNOWN_CHECK), CheckEnded()),
)
async def cancel_check(check_id: CheckId, _operator: Operator, consistency: Consistency) -> CheckView:
    """Stop a running check. The findings are as if it had never run."""
    return CheckView.of_check(await consistency.cancel_check(check_id))
