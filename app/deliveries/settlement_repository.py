"""Writes the results of attempts, many in one transaction."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import Table, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.sql import bound_rows, write
from app.database.types import among_ids, statement_now
from app.deliveries.claim import LeasedDelivery, LeaseKey
from app.deliveries.policy import RetryDecision, whole_seconds
from app.outbound.client import AttemptResponse
from app.subscriptions.lane import is_pending
from app.subscriptions.models import Attempt, Delivery, DeliveryStatus, Outcome, Subscription

_DELIVERIES = cast("Table", Delivery.__table__)
_SETTLED = {
    name: _DELIVERIES.c[name].type
    for name in ("id", "fence", "status", "due_at", "wait_seconds", "attempts", "failures", "settled_at")
}
_LANE = {name: _DELIVERIES.c[name].type for name in ("subscription_id", "file_id")}

_ATTEMPTS = cast("Table", Attempt.__table__)  # of the ORM an insert of many rows takes several times as long

Lane = tuple[UUID, UUID]  # subscription and file


class Result(NamedTuple):
    """An attempt at `url` that has ended; `started_at` is on this process's clock."""

    subscription_id: UUID
    url: str
    delivery: LeasedDelivery
    started_at: datetime
    response: AttemptResponse
    outcome: Outcome


class SettlementRepository:
    """The statements of a settlement, in the order of the methods, with the lanes shared.

    `process` is the process that claimed.
    """

    def __init__(self, session: AsyncSession, process: str) -> None:
        self._session = session
        self._process = process

    async def lock_health(
        self, succeeded: Collection[UUID], failed: Collection[UUID]
    ) -> tuple[Sequence[Subscription], set[UUID]]:
        """The subscriptions whose health may change, locked; and the ids of others with a foreign lock.

        Most that succeed are healthy already.
        """
        was_bad = or_(Subscription.failing_since.is_not(None), Subscription.slow_count > 0)
        may_change = or_(among_ids(Subscription.id, failed), among_ids(Subscription.id, succeeded) & was_bad)
        ids = set((await self._session.scalars(select(Subscription.id).where(may_change))).all())
        if not ids:
            return [], ids
        query = select(Subscription).where(among_ids(Subscription.id, ids)).order_by(Subscription.id)
        locked = (await self._session.scalars(query.with_for_update(key_share=True, skip_locked=True))).all()
        return locked, ids - {one.id for one in locked}

    async def mark_attempted(
        self, decided: Iterable[tuple[Result, RetryDecision]], now: datetime
    ) -> dict[LeaseKey, Lane]:
        """Write the decisions whose lease is still that of their claim; returns the lane of each that was written."""
        # Every process writes in the order of the ids, so that no two settlements wait for each other.
        rows = sorted((_row(result, decision, now) for result, decision in decided), key=itemgetter(0))
        new = bound_rows(self._session.get_bind().dialect, _SETTLED, rows)
        statement = (
            update(Delivery)
            .where(
                Delivery.id == new.c.id,
                Delivery.fence == new.c.fence,
                # Not by the index of claimed rows: SQLite would read all of it for each row.
                func.coalesce(Delivery.claimed_by, "") == self._process,
                Delivery.status == DeliveryStatus.PENDING,
            )
            .values({name: new.c[name] for name in _SETTLED if name not in {"id", "fence"}} | {"claimed_by": None})
            .returning(Delivery.id, Delivery.fence, Delivery.subscription_id, Delivery.file_id)
            .execution_options(synchronize_session=False)
        )
        written = await self._session.execute(statement)
        return {(row.id, row.fence): (row.subscription_id, row.file_id) for row in written}

    async def add_attempts(self, results: Sequence[Result]) -> None:
        if results:
            await self._session.execute(insert(_ATTEMPTS), [_attempt(result) for result in results])

    async def mark_next_due(self, lanes: Iterable[Lane]) -> None:
        """In each of these lanes, whose due delivery is settled, make the next one due."""
        bound = bound_rows(self._session.get_bind().dialect, _LANE, sorted(set(lanes)))
        waiting = aliased(Delivery)
        first = (
            select(waiting.id)
            .where(waiting.subscription_id == bound.c.subscription_id, waiting.file_id == bound.c.file_id)
            .where(is_pending(waiting))
            .order_by(waiting.position)
            .limit(1)
            .correlate(bound)
            .scalar_subquery()
        )
        heads = select(first.label("id")).select_from(bound).subquery()
        statement = (
            update(Delivery)
            # Without an order each has a time of its own, which is left alone.
            .where(Delivery.id == heads.c.id, Delivery.due_at.is_(None))
            .values(due_at=statement_now())
        )
        await write(self._session, statement)

    async def has_pending(self, subscription_id: UUID) -> bool:
        query = select(Delivery.id).where(Delivery.subscription_id == subscription_id, is_pending()).limit(1)
        return (await self._session.scalar(query)) is not None


def _row(result: Result, decision: RetryDecision, now: datetime) -> tuple[Any, ...]:
    """The values of `_SETTLED`."""
    delivery = result.delivery
    settled_at = None if decision.status is DeliveryStatus.PENDING else now
    return (
        delivery.id,
        delivery.fence,
        decision.status,
        decision.due_at,
        None if decision.due_at is None else whole_seconds(decision.due_at - now),
        delivery.attempts + 1,
        decision.failures,
        settled_at,
    )


def _attempt(result: Result) -> dict[str, Any]:
    response = result.response
    return {
        "delivery_id": result.delivery.id,
        "number": result.delivery.attempts + 1,
        "started_at": result.started_at,
        "duration_ms": round(response.duration_seconds * 1000),
        "status_code": response.status_code,
        "outcome": result.outcome,
        "response": response.body,
        "error": response.error,
    }
