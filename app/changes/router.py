"""The feed over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.auth.dependencies import Reader
from app.auth.route import AuthenticatedRoute
from app.changes import openapi
from app.changes.dependencies import Feed
from app.changes.schemas import ChangePage, ChangesQuery

router = APIRouter(prefix="/changes", tags=["changes"], route_class=AuthenticatedRoute)


@router.get("", operation_id="listChanges", summary="List changes", response_model=ChangePage, responses=openapi.LISTED)
async def list_changes(query: Annotated[ChangesQuery, Query()], _reader: Reader, feed: Feed) -> Response:
    """Events in the order of their positions, beginning after a cursor.

    A page covers every position from `from_position` to `to_position`: what it does not list there does not meet the
    filter. With a filter a page may be short or empty although `has_more` is true.
    """
    page = await feed.read_page(query.cursor, query.wanted(), limit=query.limit)
    return Response(page.encode(), media_type="application/json")
