"""Sources over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from app.auth.dependencies import Operator, Reader
from app.auth.route import AuthenticatedRoute
from app.consistency.sources.repository import SourceRepository, SourceUnknown
from app.consistency.sources.schemas import SOURCE_ID, NewSource, SourceChange, SourceTest, SourceView
from app.consistency.sources.service import (
    FixedByEnvironment,
    SourceOfEnvironment,
    SourceService,
    TooManySources,
)
from app.http.dependencies import ReadSession, from_state
from app.http.openapi import documented, location_header
from app.http.types import Uuid
from app.outbound.address import NOT_PUBLIC
from app.outbound.endpoint import TooManyHeaders, UrlRefused
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey

SourceId = Annotated[Uuid, Path(description="The source's `id`.", examples=[SOURCE_ID])]


Sources = Annotated[SourceService, from_state("consistency.sources")]

router = APIRouter(tags=["consistency"], route_class=AuthenticatedRoute)


@router.post(
    "/consistency/sources",
    operation_id="createConsistencySource",
    summary="Add a source",
    status_code=status.HTTP_201_CREATED,
    responses=documented(
        201,
        "The source.",
        UrlRefused(NOT_PUBLIC, "source"),
        TooManySources(),
        NoEncryptionKey(),
        headers=location_header("source"),
    ),
)
async def create_source(
    new: NewSource,
    _operator: Operator,
    sources: Sources,
    response: Response,
) -> SourceView:
    """Add a service that holds files, to compare with the events. At most 20.

    It serves the inventory contract, docs/consistency.md. The service never writes to it.
    """
    source = await sources.create_source(new)
    response.headers["Location"] = f"sources/{source.id}"
    return SourceView.of(source, sources.header_names(source))


@router.get(
    "/consistency/sources",
    operation_id="listConsistencySources",
    summary="List the sources",
    responses=documented(200, "All sources, oldest first."),
)
async def list_sources(_reader: Reader, session: ReadSession, sources: Sources) -> list[SourceView]:
    """All sources, oldest first."""
    return [SourceView.of(one, sources.header_names(one)) for one in await SourceRepository(session).list_all()]


@router.get(
    "/consistency/sources/{source_id:uuid}",
    operation_id="getConsistencySource",
    summary="Get a source",
    responses=documented(200, "The source.", SourceUnknown()),
)
async def get_source(source_id: SourceId, _reader: Reader, session: ReadSession, sources: Sources) -> SourceView:
    """One source by its id."""
    source = await SourceRepository(session).get(source_id)
    return SourceView.of(source, sources.header_names(source))


@router.patch(
    "/consistency/sources/{source_id:uuid}",
    operation_id="changeConsistencySource",
    summary="Change a source",
    responses=documented(
        200,
        "The source as it is now.",
        UrlRefused(NOT_PUBLIC, "source"),
        TooManyHeaders("source"),
        FixedByEnvironment(["url"]),
        SourceUnknown(),
        NoEncryptionKey(),
        EncryptionKeyMissing(),
    ),
)
async def change_source(
    source_id: SourceId,
    change: SourceChange,
    _operator: Operator,
    sources: Sources,
) -> SourceView:
    """Change the members that the body names, as a merge patch (RFC 7396)."""
    source = await sources.change_source(source_id, change)
    return SourceView.of(source, sources.header_names(source))


@router.delete(
    "/consistency/sources/{source_id:uuid}",
    operation_id="deleteConsistencySource",
    summary="Delete a source",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=documented(
        204, "The source, its checks and its findings are gone.", SourceUnknown(), SourceOfEnvironment()
    ),
)
async def delete_source(source_id: SourceId, _operator: Operator, sources: Sources) -> None:
    """Delete a source with its checks and findings."""
    await sources.delete_source(source_id)


@router.post(
    "/consistency/sources/{source_id:uuid}/test",
    operation_id="testConsistencySource",
    summary="Test a source",
    responses=documented(200, "The response of the source, good or bad.", SourceUnknown()),
)
async def ask_source(source_id: SourceId, _operator: Operator, sources: Sources) -> SourceTest:
    """Ask the source for one item of its inventory, and show the response. Nothing is compared.

    The source `cloud` is asked for one file, and its block store for the list of blocks.
    """
    return await sources.test_source(source_id)
