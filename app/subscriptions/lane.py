"""The rule of the lanes, as SQL, and their lock: of a file's pending deliveries one is due, the others wait for it.

A lane is the pending deliveries of one file for one subscription that is ordered per file.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, literal_column, null, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.orm.util import AliasedClass

from app.database.types import database_now, statement_now
from app.subscriptions.models import Delivery, FullLane, Ordering

LANE_ROWS = 200  # pending deliveries of one file that a full lane keeps, and that are added when half are done

_LANES_KEY = 0x5745_4248_4F4F_4B53  # of the advisory lock, among all of this database
_LOCK_EXCLUSIVE = select(func.pg_advisory_xact_lock(_LANES_KEY))
_LOCK_SHARED = select(func.pg_advisory_xact_lock_shared(_LANES_KEY), database_now())
_NOW = select(database_now())

Column = ColumnElement[Any] | InstrumentedAttribute[Any]


def is_pending(delivery: type[Delivery] | AliasedClass[Delivery] = Delivery) -> ColumnElement[bool]:
    """Whether a delivery is pending, as a literal and not as a bound value.

    A partial index of pending rows serves only a condition that is known when the statement is prepared.
    """
    return delivery.status == literal_column("'pending'")


def is_full(delivery: type[Delivery]) -> ColumnElement[bool]:
    """Whether the delivery's lane is full.

    Deliveries of a full lane do not count against the limits of the subscription.
    """
    return (
        exists()
        .where(FullLane.subscription_id == delivery.subscription_id, FullLane.file_id == delivery.file_id)
        .correlate(delivery)
    )


def due_at_first(
    ordering: Column, subscription_id: Column, file_id: Column, position: Column
) -> ColumnElement[datetime]:
    """The `due_at` of the statement's rows, which become pending together: of a lane only the first one is due.

    None is due where something is pending already: a row at a lower position than that is next.
    """
    pending = aliased(Delivery)
    # Not EXISTS: that may be hashed, which would read every pending delivery there is.
    other = (
        select(literal(1))
        .where(pending.subscription_id == subscription_id, pending.file_id == file_id)
        .where(is_pending(pending))
        .limit(1)
        .correlate_except(pending)
        .scalar_subquery()
    )
    rank = func.row_number().over(partition_by=(subscription_id, file_id), order_by=position)
    is_due = or_(ordering == Ordering.NONE, and_(rank == 1, other.is_(None)))
    return case((is_due, statement_now()), else_=null())


def list_long_lanes(subscription_id: Column | UUID) -> Select[UUID]:
    """The files of the subscription with more than `LANE_ROWS` pending deliveries that are not marked full."""
    return (
        select(Delivery.file_id)
        .where(Delivery.subscription_id == subscription_id, is_pending(), ~is_full(Delivery))
        .group_by(Delivery.file_id)
        .having(func.count() > LANE_ROWS)
    )


async def lock_lanes(session: AsyncSession) -> None:
    """Lock all lanes until the transaction ends: no other one adds or settles deliveries, or changes subscriptions.

    Take it before locking any row of the webhooks, so that no two transactions wait for each other. Reads after it see
    what the others have committed. SQLite has one writer at a time anyway.
    """
    if _needs_lock(session):
        await session.execute(_LOCK_EXCLUSIVE)


async def share_lanes(session: AsyncSession) -> datetime:
    """Lock all lanes shared with other settlements, which finish deliveries and add none.

    Returns the database's time, which is not before the end of the transactions that this call waited for.
    """
    now: datetime = (await session.execute(_LOCK_SHARED if _needs_lock(session) else _NOW)).one()[-1]
    return now


async def limit_lock_wait(session: AsyncSession, milliseconds: int) -> None:
    """Let no statement of the rest of the transaction wait longer for a lock; SQLite has no locks of rows."""
    if _needs_lock(session):
        await session.execute(select(func.set_config("lock_timeout", f"{milliseconds}ms", True)))


def _needs_lock(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "postgresql"
