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
    """A session in one transaction, committed before the answer is sent."""
    async with database.transaction() as session:
        yield session


async def page_place(request: Request) -> AsyncIterator[PagePlace]:
    """The place of a page, which is free again once the last of the answer is sent or its reader is gone."""
    pages: Pages = request.state.pages
    place = PagePlace(pages)
    try:
        yield place
    finally:
        place.give_back()


CurrentDatabase = Annotated[Database, Depends(get_database)]
Place = Annotated[PagePlace, Depends(page_place, scope="request")]
ReadSession = Annotated[AsyncSession, Depends(read_session, scope="function")]
WriteSession = Annotated[AsyncSession, Depends(write_session, scope="function")]
