"""Sources and checks over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status

from app.auth.dependencies import Operator, Reader
from app.auth.route import AuthenticatedRoute
from app.consistency.check_repository import UNKNOWN_CHECK, CheckEnded, CheckRepository, CheckRunning
from app.consistency.errors import (
    SourceDisabled,
    SourceUrlRefused,
    TooManySourceHeaders,
    TooManySources,
)
from app.consistency.examples import CHECK_ID, SOURCE_ID
from app.consistency.schemas import (
    CheckQuery,
    CheckView,
    NewCheck,
    NewSource,
    SourceChange,
    SourceTest,
    SourceView,
)
from app.consistency.service import ConsistencyService
from app.consistency.source_repository import UNKNOWN_SOURCE, SourceRepository
from app.errors import NotFound
from app.http.dependencies import LINK_HEADER, ReadSession, page_links
from app.http.openapi import documented, location_header
from app.http.types import Uuid
from app.outbound.address import NOT_PUBLIC
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey

NO_SOURCE = NotFound(UNKNOWN_SOURCE)

SourceId = Annotated[Uuid, Path(description="The source's `id`.", examples=[SOURCE_ID])]
CheckId = Annotated[Uuid, Path(description="The check's `id`.", examples=[CHECK_ID])]


async def get_service(request: Request) -> ConsistencyService:
    """The process's consistency service, built by the lifespan."""
    service: ConsistencyService = request.state.consistency.service
    return service


Consistency = Annotated[ConsistencyService, Depends(get_service)]

router = APIRouter(tags=["consistency"], route_class=AuthenticatedRoute)


@router.post(
    "/consistency/sources",
    operation_id="createConsistencySource",
    summary="Add a source",
    status_code=status.HTTP_201_CREATED,
    responses=documented(
        201,
        "The source.",
        SourceUrlRefused(NOT_PUBLIC),
        TooManySources(),
        NoEncryptionKey(),
        headers=location_header("source"),
    ),
)
async def create_source(
    new: NewSource,
    _operator: Operator,
    consistency: Consistency,
    response: Response,
) -> SourceView:
    """Name a service that holds files, to compare with what the events say. There may be 20.

    It is asked by the inventory contract, a page of docs/consistency.md. Nothing is ever written to it.
    """
    source = await consistency.create_source(new)
    response.headers["Location"] = f"/consistency/sources/{source.id}"
    return SourceView.of(source, consistency.header_names(source))


@router.get(
    "/consistency/sources",
    operation_id="listConsistencySources",
    summary="List the sources",
    responses=documented(200, "All sources, oldest first."),
)
async def list_sources(_reader: Reader, session: ReadSession, consistency: Consistency) -> list[SourceView]:
    """All sources, oldest first."""
    return [SourceView.of(one, consistency.header_names(one)) for one in await SourceRepository(session).list_all()]


@router.get(
    "/consistency/sources/{source_id:uuid}",
    operation_id="getConsistencySource",
    summary="Get a source",
    responses=documented(200, "The source.", NO_SOURCE),
)
async def get_source(
    source_id: SourceId, _reader: Reader, session: ReadSession, consistency: Consistency
) -> SourceView:
    """One source by its id."""
    source = await SourceRepository(session).get(source_id)
    return SourceView.of(source, consistency.header_names(source))


@router.patch(
    "/consistency/sources/{source_id:uuid}",
    operation_id="changeConsistencySource",
    summary="Change a source",
    responses=documented(
        200,
        "The source as it is now.",
        SourceUrlRefused(NOT_PUBLIC),
        TooManySourceHeaders(),
        NO_SOURCE,
        NoEncryptionKey(),
        EncryptionKeyMissing(),
    ),
)
async def change_source(
    source_id: SourceId,
    change: SourceChange,
    _operator: Operator,
    consistency: Consistency,
) -> SourceView:
    """Change the members that the body names, as a merge patch (RFC 7396)."""
    source = await consistency.change_source(source_id, change)
    return SourceView.of(source, consistency.header_names(source))


@router.delete(
    "/consistency/sources/{source_id:uuid}",
    operation_id="deleteConsistencySource",
    summary="Delete a source",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=documented(204, "The source, its checks and its findings are gone.", NO_SOURCE),
)
async def delete_source(source_id: SourceId, _operator: Operator, consistency: Consistency) -> None:
    """Forget a source with its checks and findings."""
    await consistency.delete_source(source_id)


@router.post(
    "/consistency/sources/{source_id:uuid}/test",
    operation_id="testConsistencySource",
    summary="Test a source",
    responses=documented(200, "The response of the source, good or bad.", NO_SOURCE),
)
async def ask_source(source_id: SourceId, _operator: Operator, consistency: Consistency) -> SourceTest:
    """Ask the source for one item of its inventory, and show what it responds. Nothing is compared."""
    response, page, error = await consistency.test_source(source_id)
    return SourceTest(
        ok=error is None,
        status_code=response.status_code,
        duration_ms=round(response.duration_seconds * 1000),
        error=None if error is None else f"The source {error}.",
        total=page.total if page else None,
        watermark=page.watermark if page else None,
        response=response.body,
    )


@router.post(
    "/consistency/checks",
    operation_id="createConsistencyCheck",
    summary="Begin a check",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(
        202, "The check.", NO_SOURCE, SourceDisabled(), CheckRunning(), headers=location_header("check")
    ),
)
async def create_check(
    new: NewCheck,
    _operator: Operator,
    consistency: Consistency,
    response: Response,
) -> CheckView:
    """Compare the whole inventory of a source, or named files, with what the events say.

    The background runs it, any replica goes on when one ends. A difference is `suspected` until a look at that one
    file, after the grace period, sees it again.
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
