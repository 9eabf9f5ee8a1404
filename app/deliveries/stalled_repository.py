"""Finds the lanes in which deliveries are pending and none is due, which no settlement will ever make due."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, FromClause, ScalarSelect, Uuid, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from app.database.sql import bound_rows
from app.database.types import statement_now
from app.deliveries.settlement_repository import Lane
from app.subscriptions.lane import is_pending, lock_lanes
from app.subscriptions.models import Delivery, Ordering, Subscription

_LANE: dict[str, TypeEngine[Any]] = {"subscription_id": Uuid(), "file_id": Uuid()}


class StalledRepository:
    """Statements on stalled lanes. In a good one a delivery has a due time, also while it is being sent."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_stalled(self, limit: int) -> Sequence[Lane]:
        """At most `limit` of them, and files of subscriptions without order of which any is not due.

        Reads every pending delivery there is.
        """
        due, unordered = func.count(Delivery.due_at), Subscription.ordering == Ordering.NONE
        query = (
            select(Delivery.subscription_id, Delivery.file_id)
            .join(Subscription)
            .where(is_pending())
            .group_by(Delivery.subscription_id, Delivery.file_id, Subscription.ordering)
            .having(or_(due == 0, and_(unordered, due < func.count())))
            .limit(limit)
        )
        return [(subscription_id, file_id) for subscription_id, file_id in await self._session.execute(query)]

    async def mark_due(self, lanes: Sequence[Lane]) -> int:
        """Make due what should be in those of the `lanes` that are still stalled; returns how many deliveries.

        That is the first one of a lane, or every one without an order. It is alone with the lanes until the end of the
        transaction.
        """
        await lock_lanes(self._session)
        bound = bound_rows(self._session.get_bind().dialect, _LANE, sorted(lanes))
        unordered = select(Subscription.id).where(Subscription.ordering == Ordering.NONE)
        free = (*_is_pending_in(bound), Delivery.due_at.is_(None), Delivery.subscription_id.in_(unordered))
        due = _first_of(bound, Delivery.due_at.is_not(None))
        heads = select(_first_of(bound).label("id")).select_from(bound).where(due.is_(None)).subquery()
        return await self._mark_due(*free) + await self._mark_due(Delivery.id == heads.c.id)

    async def _mark_due(self, *conditions: ColumnElement[bool]) -> int:
        statement = (
            update(Delivery)
            .where(*conditions)
            .values(due_at=statement_now())
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", await self._session.execute(statement)).rowcount


def _is_pending_in(lane: FromClause) -> tuple[ColumnElement[bool], ...]:
    return Delivery.subscription_id == lane.c.subscription_id, Delivery.file_id == lane.c.file_id, is_pending()


def _first_of(lane: FromClause, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """The first pending delivery of a lane that meets the `conditions`."""
    query = select(Delivery.id).where(*_is_pending_in(lane), *conditions)
    return query.order_by(Delivery.position).limit(1).correlate(lane).scalar_subquery()
