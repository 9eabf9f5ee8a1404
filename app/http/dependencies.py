"""Connections and sessions for routers: the transaction begins and ends here.

Every dependency is a coroutine, also where it awaits nothing: FastAPI runs plain functions in a thread each.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.engine import Database


async def get_database(request: Request) -> Database:
    """The process's database, built by the lifespan."""
    database: Database = request.state.database
    return database


async def read_session(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[AsyncSession]:
    """A session for reading objects."""
    async with database.read() as session:
        yield session


async def read_connection(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[AsyncConnection]:
    """A connection for reading rows."""
    async with database.connection() as connection:
        yield connection


async def write_session(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[AsyncSession]:
    """A session in one transaction, committed before the answer is sent."""
    async with database.transaction() as session:
        yield session


ReadSession = Annotated[AsyncSession, Depends(read_session, scope="function")]
ReadConnection = Annotated[AsyncConnection, Depends(read_connection, scope="function")]
WriteSession = Annotated[AsyncSession, Depends(write_session, scope="function")]
