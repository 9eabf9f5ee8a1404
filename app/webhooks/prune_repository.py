"""Deletes what is older than it is kept."""

from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import CursorResult, delete, exists, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import among, database_now
from app.webhooks.lane_lock import share_lanes
from app.webhooks.models import Attempt, Delivery, DeliveryStatus


class Examined(NamedTuple):
    """How far the deliveries are looked through, in the order in which they were settled."""

    settled_at: datetime
    id: int


class PruneRepository:
    """Each call deletes a bounded number of rows."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get_now(self) -> datetime:
        """The database's time."""
        return (await self._session.scalars(select(database_now()))).one()

    async def delete_attempts(self, before: datetime, limit: int) -> int:
        """Delete the oldest attempts that began before then, and return how many that were."""
        old = select(Attempt.id).where(Attempt.started_at < before).order_by(Attempt.started_at).limit(limit)
        statement = delete(Attempt).where(Attempt.id.in_(old)).execution_options(synchronize_session=False)
        return cast("CursorResult[Any]", await self._session.execute(statement)).rowcount

    async def delete_deliveries(self, before: datetime, after: Examined | None, limit: int) -> Examined | None:
        """Of the next deliveries after `after` that were settled before then, delete those that nobody needs.

        The dead ones stay, and of each file the last one that was delivered. None when there are no more.
        """
        await share_lanes(self._session)
        query = select(Delivery.settled_at, Delivery.id).where(Delivery.settled_at < before)
        if after is not None:
            query = query.where(tuple_(Delivery.settled_at, Delivery.id) > tuple_(after.settled_at, after.id))
        rows = (await self._session.execute(query.order_by(Delivery.settled_at, Delivery.id).limit(limit))).all()
        if not rows:
            return None
        newer = aliased(Delivery)
        is_superseded = exists().where(
            newer.file_id == Delivery.file_id,
            newer.subscription_id == Delivery.subscription_id,
            newer.position > Delivery.position,
            newer.status == DeliveryStatus.DELIVERED,
        )
        statement = delete(Delivery).where(
            among(Delivery.id, [row.id for row in rows]), Delivery.status == DeliveryStatus.DELIVERED, is_superseded
        )
        await self._session.execute(statement.execution_options(synchronize_session=False))
        return Examined._make(rows[-1])
