"""Keeps those who add to the lanes of deliveries apart from those who take from them."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.types import database_now

_KEY = 0x5745_4248_4F4F_4B53  # of the advisory lock, among all of this database
_LOCK_ALONE = select(func.pg_advisory_xact_lock(_KEY))
_LOCK_TOGETHER = select(func.pg_advisory_xact_lock_shared(_KEY), database_now())
_NOW = select(database_now())


async def lock_lanes(session: AsyncSession) -> None:
    """Be alone until the transaction ends: nobody else adds deliveries, settles any, or changes how these are made.

    Whoever takes it does so before it locks any row of the webhooks, so that no two wait for each other. What is read
    after it is what the others have committed. SQLite's writers are alone as it is.
    """
    if _needs_lock(session):
        await session.execute(_LOCK_ALONE)


async def share_lanes(session: AsyncSession) -> datetime:
    """The same together with others who share: for a settlement, which finishes deliveries and adds none.

    Returns the database's time, which the others' transactions that had to be waited for are not after.
    """
    now: datetime = (await session.execute(_LOCK_TOGETHER if _needs_lock(session) else _NOW)).one()[-1]
    return now


def _needs_lock(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "postgresql"
