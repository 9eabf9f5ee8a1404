"""Connections and sessions for routers: the transaction begins and ends here.

Every dependency is a coroutine, also where it awaits nothing: FastAPI runs plain functions in a thread each.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.errors import FieldError, Unprocessable
from app.http.etag import PATTERN, IfMatch
from app.http.pages import PagePlace, Pages


async def get_database(request: Request) -> Database:
    """The process's database, built by the lifespan."""
    database: Database = request.state.database
    return database


async def read_session(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[AsyncSession]:
    """A session for reading objects."""
    async with database.read() as session:
        yield session


async def write_session(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[AsyncSession]:
    """A session in one transaction, committed before the response is sent."""
    async with database.transaction() as session:
        yield session


async def list_place(request: Request) -> AsyncIterator[PagePlace]:
    """The place of a page of a list, until the response is sent or its client is gone."""
    pages: Pages = request.state.list_pages
    with pages.place() as place:
        yield place


async def change_place(request: Request) -> AsyncIterator[PagePlace]:
    """The place of a page of the feed; it is apart from lists, so that slow readers of lists delay no follower."""
    pages: Pages = request.state.change_pages
    with pages.place() as place:
        yield place


async def get_condition(
    request: Request,
    if_match: Annotated[  # noqa: ARG001 - for the documentation; several headers make one list
        str | None,
        Header(
            description="The `ETag` of an earlier response: nothing is done unless it is still the current one. "
            "Without it, or with `*`, the last one to write wins.",
            json_schema_extra={"pattern": PATTERN},
        ),
    ] = None,
) -> IfMatch:
    """The condition of the request.

    Raises:
        Unprocessable: 422 when the header is malformed.
    """
    try:
        return IfMatch.parse(request.headers.getlist("if-match"))
    except ValueError:
        error = FieldError(loc=["header", "if-match"], msg="Input should be * or a list of ETags", type="etag_list")
        raise Unprocessable("The header If-Match cannot be read.", errors=[error]) from None


CurrentDatabase = Annotated[Database, Depends(get_database)]
ListPlace = Annotated[PagePlace, Depends(list_place, scope="request")]
ChangePlace = Annotated[PagePlace, Depends(change_place, scope="request")]
ReadSession = Annotated[AsyncSession, Depends(read_session, scope="function")]
WriteSession = Annotated[AsyncSession, Depends(write_session, scope="function")]
Condition = Annotated[IfMatch, Depends(get_condition)]
