"""Reads what an operator looks at first: the rate of new events, the backlog of the subscriptions, open findings."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.sql import bound_rows
from app.database.types import UtcDateTime, after_seconds, database_now, greatest_of, statement_now
from app.events.models import SyncEvent, head_position, last_position
from app.operations.repository import MAX_COUNTED, LedgerStatus, StatusRepository
from app.subscriptions.models import DeliveryStatus, Subscription, SubscriptionStatus
from app.subscriptions.repository import count_deliveries, oldest_pending_at

RATE_SECONDS = 60
SHOWN = (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED)


class SubscriptionBacklog(NamedTuple):
    """Subscriptions of one status. The pending deliveries of each are counted up to 100,000."""

    subscriptions: int
    pending: int
    behind: int  # positions of the ledger that are not yet deliveries, summed over those that are not live
    oldest_pending_age: timedelta | None


class LedgerOverview(NamedTuple):
    """The state of the ledger and of the data derived from it."""

    status: LedgerStatus
    recent_events: int  # of the last `RATE_SECONDS`
    subscriptions: dict[SubscriptionStatus, SubscriptionBacklog]
    open_findings: int


class OverviewRepository:
    """Reads in a few statements, each bounded, and each a snapshot of its own."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self) -> LedgerOverview:
        """The overview now, by the database's clock; raises `Unavailable` when the tables are not whole."""
        status = await StatusRepository(self._connection).get_status()
        since = after_seconds(statement_now(), -RATE_SECONDS)
        numbers = select(
            head_position() - last_position(SyncEvent.created_at < since),
            database_now(),
        )
        recent, now = (await self._connection.execute(numbers)).one()
        findings = sum(one.number for one in status.open_findings)
        return LedgerOverview(status, recent, await self.read_backlogs(now), findings)

    async def read_backlogs(self, now: datetime) -> dict[SubscriptionStatus, SubscriptionBacklog]:
        """The backlog of the subscriptions of each status that is shown."""
        backlogs = dict.fromkeys(SHOWN, SubscriptionBacklog(0, 0, 0, None))
        for status, count, pending, behind, oldest in await self._connection.execute(_backlogs()):
            age = None if oldest is None else max(now - oldest, timedelta())
            backlogs[SubscriptionStatus(status)] = SubscriptionBacklog(count, int(pending), int(behind), age)
        return backlogs

    async def list_positions(self, times: Sequence[datetime]) -> list[int]:
        """The position of the last event before each of the rising `times`; 0 where there is none."""
        rows = [(at,) for at in times]
        bound = bound_rows(self._connection.dialect, {"at": UtcDateTime()}, rows)
        query = select(last_position(SyncEvent.created_at < bound.c.at)).select_from(bound).order_by(bound.c.at)
        return list((await self._connection.scalars(query)).all())


def _backlogs() -> Select[str, int, int, Any, datetime]:
    behind = case((Subscription.live, 0), else_=greatest_of(head_position() - Subscription.cursor, 0))
    return (
        select(
            Subscription.status,
            func.count(),
            func.sum(count_deliveries(DeliveryStatus.PENDING, MAX_COUNTED)),
            func.sum(behind),
            func.min(oldest_pending_at()),
        )
        .where(Subscription.status.in_(SHOWN))
        .group_by(Subscription.status)
    )
