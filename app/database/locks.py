"""Advisory locks that let one replica at a time run a background job."""

from enum import IntEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


class BackgroundJob(IntEnum):
    """Jobs that one replica at a time runs; the values are keys of advisory locks, unique in this database."""

    CATCH_UP = 0x5745_4248_4341_5443
    PRUNE = 0x5745_4248_5052_554E
    STALLED = 0x5745_4248_5354_414C


async def try_lock_job(session: AsyncSession, job: BackgroundJob) -> bool:
    """Lock `job` until the transaction ends unless another replica holds it; returns whether it is locked now.

    It never waits, so it may come before the lanes' lock. SQLite has one writer at a time anyway.
    """
    if session.get_bind().dialect.name != "postgresql":
        return True
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(job.value))))
