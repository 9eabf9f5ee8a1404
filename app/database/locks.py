"""Advisory locks that let one replica at a time run a background job."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database


class BackgroundJob(IntEnum):
    """Jobs that one replica at a time runs; the values are keys of advisory locks, unique in this database."""

    CATCH_UP = 0x5745_4248_4341_5443
    PRUNE = 0x5745_4248_5052_554E
    STALLED = 0x5745_4248_5354_414C


class OtherReplicaWorks(Exception):
    """Another replica runs the job."""


@asynccontextmanager
async def job_transaction(database: Database, job: BackgroundJob) -> AsyncIterator[AsyncSession]:
    """A transaction of the only replica that runs `job`.

    The lock is never waited for, so it may come before the lanes' lock. SQLite has one writer at a time anyway.

    Raises:
        OtherReplicaWorks: another replica holds the lock.
        DatabaseUnavailable: the database cannot serve.
    """
    async with database.transaction() as session:
        locked = select(func.pg_try_advisory_xact_lock(job.value))
        if session.get_bind().dialect.name == "postgresql" and not await session.scalar(locked):
            raise OtherReplicaWorks
        yield session
