"""Lets one replica at a time do what all of them would do in the background."""

from enum import IntEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


class Work(IntEnum):
    """What takes turns; the values are of advisory locks, among all of this database."""

    CATCH_UP = 0x5745_4248_4341_5443
    PRUNE = 0x5745_4248_5052_554E


async def take_turn(session: AsyncSession, work: Work) -> bool:
    """Whether nobody else does it now; then nobody does until the transaction ends. It waits for nobody.

    So it may come before the lock of the lanes. SQLite's writers are alone as it is.
    """
    if session.get_bind().dialect.name != "postgresql":
        return True
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(work.value))))
