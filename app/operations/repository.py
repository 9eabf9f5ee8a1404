"""Reads the state of the whole ledger: for health and metrics in one look, for the overview, and over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import (
    Column,
    ColumnElement,
    MetaData,
    ScalarSelect,
    Select,
    String,
    Table,
    case,
    exists,
    func,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.consistency.file_check_repository import count_due_file_checks
from app.consistency.finding_repository import oldest_open_finding, select_open_findings
from app.consistency.metrics import OpenFindings
from app.database.errors import DatabaseDamaged, DatabaseUnavailable, SchemaBehind
from app.database.sql import bound_rows, count_up_to
from app.database.types import UtcDateTime, after_seconds, database_now, greatest_of, statement_now
from app.database.watch import Prober
from app.errors import Unavailable, describe
from app.events.models import LedgerHead, RetryState, SweepCursor, SyncEvent, head_position, last_position
from app.subscriptions.lane import is_pending
from app.subscriptions.models import Delivery, DeliveryStatus, Subscription, SubscriptionStatus
from app.subscriptions.repository import count_deliveries, oldest_pending_at

MAX_COUNTED = 100_000
RATE_SECONDS = 60
SHOWN = (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED)
_SCHEMA_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32)))  # alembic's own

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """The state of the ledger.

    `unprocessed` are the events that the sweep will take up; those set aside wait for an operator and are counted
    apart. Events that the sweep has passed are counted up to 100,000 in each state, and so are pending deliveries. Of
    webhooks only active subscriptions count, apart from the disabled ones. `ledger_ahead_seconds` is how far the newest
    event's `created_at` is ahead of the database's clock, which was set back since it was written.
    """

    position: int
    unprocessed: int
    set_aside: int
    oldest_unprocessed_age_seconds: float
    pending_deliveries: int
    oldest_pending_delivery_age_seconds: float
    longest_failing_seconds: float
    disabled_subscriptions: int
    ledger_ahead_seconds: float
    recent_events: int  # of the last `RATE_SECONDS`
    open_findings: Sequence[OpenFindings]
    oldest_open_finding_age_seconds: float
    due_file_checks: int
    schema_revision: str | None

    @property
    def open_finding_count(self) -> int:
        return sum(one.number for one in self.open_findings)


@dataclass(frozen=True, slots=True)
class Look:
    """The response of the database. `status` is None while the ledger cannot be read, although the database responds.

    `damaged`: because a page of it is broken.
    """

    connected: bool
    status: LedgerStatus | None = None
    revision: str | None = None
    damaged: bool = False


NO_RESPONSE = Look(connected=False)


@dataclass(frozen=True, slots=True)
class SubscriptionBacklog:
    """Subscriptions of one status, and what they have not delivered.

    `backlog` is the sum of the pending deliveries, at most 100,000 of each subscription, and, for each subscription
    that is not live, the number of ledger positions after its cursor.
    """

    count: int
    backlog: int
    oldest_pending_age_seconds: float | None


class StatusRepository:
    """Reads in a few statements, each bounded, and each a snapshot of its own."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get_status(self) -> LedgerStatus:
        """The state now, by the database's clock; raises `Unavailable` when the tables are not whole."""
        cursor = select(SweepCursor.position).scalar_subquery()
        head = head_position()
        passed = (RetryState.RETRYING, RetryState.WAITING)
        query = select(
            exists(LedgerHead.id).where(LedgerHead.id == 1),
            head,
            head - cursor,
            *(_count(state) for state in passed),
            _count(RetryState.FAILED),
            _oldest(SyncEvent.position > cursor),
            *(_oldest(SyncEvent.retry_state == state) for state in passed),
            _pending_deliveries(),
            _of_active(func.min(oldest_pending_at())),
            _of_active(func.min(Subscription.failing_since)),  # type: ignore[arg-type]  # no failure is null, which min() skips
            _disabled_subscriptions(),
            select(SyncEvent.created_at).order_by(SyncEvent.position.desc()).limit(1).scalar_subquery(),
            head - last_position(SyncEvent.created_at < after_seconds(statement_now(), -RATE_SECONDS)),
            oldest_open_finding(),
            count_due_file_checks(MAX_COUNTED),
            database_now(),
            select(_SCHEMA_VERSION.c.version_num).scalar_subquery(),
        )
        has_head, *row = (await self._connection.execute(query)).one()
        position, fresh, retrying, waiting, failed, *rest = row
        *oldest, pending, since, failing, disabled, newest, recent, found_at, due_file_checks, now, revision = rest
        if not has_head or fresh is None:
            raise Unavailable("the ledger has lost its head or its cursor")
        findings = await self._connection.execute(select_open_findings(MAX_COUNTED))
        return LedgerStatus(
            position=position,
            unprocessed=fresh + retrying + waiting,
            set_aside=failed,
            oldest_unprocessed_age_seconds=_age_seconds(oldest, now),
            pending_deliveries=pending,
            oldest_pending_delivery_age_seconds=_age_seconds([since], now),
            longest_failing_seconds=_age_seconds([failing], now),
            disabled_subscriptions=disabled,
            ledger_ahead_seconds=max((newest - now).total_seconds(), 0.0) if newest else 0.0,
            recent_events=recent,
            open_findings=[OpenFindings(kind, str(source), count) for kind, source, count in findings],
            oldest_open_finding_age_seconds=_age_seconds([found_at], now),
            due_file_checks=due_file_checks,
            schema_revision=revision,
        )

    async def read_backlogs(self) -> dict[SubscriptionStatus, SubscriptionBacklog]:
        """The backlog of the subscriptions of each status that is shown."""
        backlogs = dict.fromkeys(SHOWN, SubscriptionBacklog(0, 0, None))
        for status, count, pending, behind, oldest, now in await self._connection.execute(_backlogs()):
            age = None if oldest is None else max((now - oldest).total_seconds(), 0.0)
            backlogs[SubscriptionStatus(status)] = SubscriptionBacklog(count, int(pending + behind), age)
        return backlogs

    async def list_positions(self, times: Sequence[datetime]) -> list[int]:
        """The position of the last event before each of the rising `times`; 0 where there is none."""
        bound = bound_rows(self._connection.dialect, {"at": UtcDateTime()}, [(at,) for at in times])
        query = select(last_position(SyncEvent.created_at < bound.c.at)).select_from(bound).order_by(bound.c.at)
        return list((await self._connection.scalars(query)).all())


async def look_at(prober: Prober) -> Look:
    """Look once, or twice when the connection was cut: one cut connection is no outage."""
    for is_last in (False, True):
        try:
            return await _look_once(prober)
        except DatabaseUnavailable as error:
            if is_last or not error.connection_lost:
                log.debug("the database does not respond", reason=describe(error.__cause__ or error))
                break
    return NO_RESPONSE


async def _look_once(prober: Prober) -> Look:
    try:
        async with prober.connection() as connection:
            status = await StatusRepository(connection).get_status()
            return Look(connected=True, status=status, revision=status.schema_revision)
    except (Unavailable, SQLAlchemyError) as error:
        if isinstance(error, DatabaseUnavailable) and not isinstance(error, (SchemaBehind, DatabaseDamaged)):
            raise
        damaged = isinstance(error, DatabaseDamaged)
        log.debug("the ledger cannot be read", reason=describe(error.__cause__ or error))
    try:
        async with prober.connection() as connection:
            revision = await connection.scalar(select(_SCHEMA_VERSION.c.version_num))
            return Look(connected=True, revision=revision, damaged=damaged)
    except SchemaBehind:
        return Look(connected=True)


def _count(state: RetryState) -> ScalarSelect[int]:
    return count_up_to(MAX_COUNTED, select(SyncEvent.position).where(SyncEvent.retry_state == state))


def _oldest(condition: ColumnElement[bool]) -> ScalarSelect[datetime]:
    """When the first of these events was recorded: `created_at` never falls while `position` rises."""
    return select(SyncEvent.created_at).where(condition).order_by(SyncEvent.position).limit(1).scalar_subquery()


def _pending_deliveries() -> ScalarSelect[int]:
    rows = (
        select(Delivery.position)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .where(_has_status(SubscriptionStatus.ACTIVE), is_pending())
    )
    return count_up_to(MAX_COUNTED, rows)


def _backlogs() -> Select[str, int, int, Any, datetime, datetime]:
    behind = case((Subscription.live, 0), else_=greatest_of(head_position() - Subscription.cursor, 0))
    return (
        select(
            Subscription.status,
            func.count(),
            func.sum(count_deliveries(DeliveryStatus.PENDING, MAX_COUNTED)),
            func.sum(behind),
            func.min(oldest_pending_at()),
            database_now(),
        )
        .where(Subscription.status.in_(SHOWN))
        .group_by(Subscription.status)
    )


def _of_active(value: ColumnElement[datetime]) -> ScalarSelect[datetime]:
    return select(value).select_from(Subscription).where(_has_status(SubscriptionStatus.ACTIVE)).scalar_subquery()


def _disabled_subscriptions() -> ScalarSelect[int]:
    return select(func.count()).where(_has_status(SubscriptionStatus.DISABLED)).scalar_subquery()


def _has_status(status: SubscriptionStatus) -> ColumnElement[bool]:
    return Subscription.status == status


def _age_seconds(recorded_at: list[datetime | None], now: datetime) -> float:
    """The age of the oldest; not negative where a clock was ahead when it was recorded."""
    return max(((now - at).total_seconds() for at in recorded_at if at is not None and at <= now), default=0.0)
