"""Connections and sessions for routers: the transaction begins and ends here.

Every dependency is a coroutine, also where it awaits nothing: FastAPI runs plain functions in a thread each.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
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


CurrentDatabase = Annotated[Database, Depends(get_database)]
ListPlace = Annotated[PagePlace, Depends(list_place, scope="request")]
ChangePlace = Annotated[PagePlace, Depends(change_place, scope="request")]
ReadSession = Annotated[AsyncSession, Depends(read_session, scope="function")]
WriteSession = Annotated[AsyncSession, Depends(write_session, scope="function")]
