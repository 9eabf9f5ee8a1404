"""Deletes what is older than it is kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, CursorResult, delete, exists, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import among, database_now
from app.subscriptions.lane_lock import share_lanes
from app.subscriptions.models import Attempt, Delivery, DeliveryStatus


class Examined(NamedTuple):
    """How far the deliveries are looked through, in the order in which they were settled."""

    settled_at: datetime
    id: int


class Page(NamedTuple):
    """Those of some deliveries that nobody needs, and how far these go; None: to the end."""

    superseded: Sequence[int]
    examined: Examined | None


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

    async def list_superseded(self, before: datetime, after: Examined | None, limit: int) -> Page:
        """Of the next `limit` delivered ones after `after` that were settled before then, those that nobody needs.

        The dead ones stay, and of each file the last one that was delivered. It locks nothing, as most of what it looks
        at has been looked at an hour ago.
        """
        query = select(Delivery.settled_at, Delivery.id, _is_superseded().label("superseded")).where(
            Delivery.settled_at < before, Delivery.status == DeliveryStatus.DELIVERED
        )
        if after is not None:
            query = query.where(tuple_(Delivery.settled_at, Delivery.id) > tuple_(after.settled_at, after.id))
        rows = (await self._session.execute(query.order_by(Delivery.settled_at, Delivery.id).limit(limit))).all()
        last = Examined(rows[-1].settled_at, rows[-1].id) if len(rows) == limit else None
        return Page([row.id for row in rows if row.superseded], last)

    async def delete_superseded(self, delivery_ids: Sequence[int], before: datetime) -> None:
        """Delete those of them that are still such."""
        await share_lanes(self._session)
        statement = delete(Delivery).where(
            among(Delivery.id, delivery_ids),
            Delivery.status == DeliveryStatus.DELIVERED,
            Delivery.settled_at < before,
            _is_superseded(),
        )
        await self._session.execute(statement.execution_options(synchronize_session=False))


def _is_superseded() -> ColumnElement[bool]:
    newer = aliased(Delivery)
    return exists().where(
        newer.file_id == Delivery.file_id,
        newer.subscription_id == Delivery.subscription_id,
        newer.position > Delivery.position,
        newer.status == DeliveryStatus.DELIVERED,
    )
