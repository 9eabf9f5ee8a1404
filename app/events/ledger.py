"""The one way into the ledger: group commit."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.concurrency.task import Batcher
from app.config import Settings
from app.database.connection import CommitUncertain
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.database.watermark import server_of
from app.errors import Unavailable, describe
from app.events.group import Append, EventRecord, IdempotencyKeyReused, Receipt, plan_group
from app.events.ledger_repository import LedgerRepository
from app.events.models import EventType
from app.metrics import LedgerMetrics
from app.tracing import recorded_context, traced

log = structlog.get_logger(__name__)


class LedgerBusy(Unavailable):
    """503: too many events wait for their commit; nothing of this request is written."""

    detail = "Too many events wait to be written; try again."


class CommitTooLate(Unavailable):
    """503: the commit did not come in time; it may still come."""

    detail = "The event was not committed in time, and may still be; try again with the same Idempotency-Key."


class Ledger:
    """Appends events durably and in order.

    Callers that arrive while a commit is under way are written together by the next one. A task writes the groups and
    lives only while callers wait; callers only await their outcomes, so a cancelled caller affects no other.
    """

    def __init__(
        self,
        database: Database,
        *,
        group_size: int,
        queue_size: int,
        append_timeout_seconds: float,
        metrics: LedgerMetrics | None = None,
    ) -> None:
        self._database = database
        self._group_size = group_size
        self._queue_size = queue_size
        self._append_timeout_seconds = append_timeout_seconds
        self._metrics = metrics or LedgerMetrics()
        self._metrics.start_at_zero(EventType)
        self._queue: deque[Append] = deque()
        self._under_way: list[Append] = []
        self._waiting_events = 0
        self._batcher = Batcher("ledger-writer", self._write_group, lambda: bool(self._queue))

    @classmethod
    def of(cls, settings: Settings, database: Database, metrics: LedgerMetrics) -> "Ledger":
        """The ledger with the limits that the settings give."""
        return cls(
            database,
            group_size=settings.ledger_group_size,
            queue_size=settings.ledger_queue_size,
            append_timeout_seconds=settings.ledger_append_timeout,
            metrics=metrics,
        )

    async def append(self, records: Sequence[EventRecord]) -> list[Receipt]:
        """Append `records` in their order, all or nothing, and return once they are committed and flushed.

        Raises:
            IdempotencyKeyReused: when a key was used before for other content; nothing is written.
            LedgerBusy: when too many wait already; nothing is written.
            DatabaseUnavailable, CommitTooLate: the outcome is unknown; a retry with the same key finds out.
        """
        if self._queue and self._waiting_events + len(records) > self._queue_size:
            self._metrics.busy.inc()
            raise LedgerBusy
        loop = asyncio.get_running_loop()
        append = Append(records, loop.create_future(), recorded_context())
        self._queue.append(append)
        self._waiting_events += len(records)
        self._metrics.queue_events.inc(len(records))
        self._batcher.wake()
        deadline = loop.call_later(self._append_timeout_seconds, lambda: append.refuse(CommitTooLate()))
        try:
            return await append.outcome
        finally:
            deadline.cancel()

    async def close(self, timeout_seconds: float) -> None:
        """Wait until every accepted append has its outcome; after `timeout_seconds` refuse the rest."""
        if not await self._batcher.close(timeout_seconds):
            log.error("ledger closed before every append was committed", waiting_events=self._waiting_events)
        _refuse(self._under_way, CommitTooLate())
        while group := self._take_group():
            _refuse(group, CommitTooLate())

    async def _write_group(self) -> None:
        self._under_way = self._take_group()
        if self._under_way:
            await self._settle(self._under_way)
            self._under_way = []

    def _take_group(self) -> list[Append]:
        """Appends for one transaction: at least one, at most `group_size` events unless the first alone has more."""
        group: list[Append] = []
        size = 0
        while self._queue and (not group or size + len(self._queue[0].records) <= self._group_size):
            append = self._queue.popleft()
            self._waiting_events -= len(append.records)
            self._metrics.queue_events.dec(len(append.records))
            if not append.settled:
                group.append(append)
                size += len(append.records)
        return group

    async def _settle(self, group: list[Append]) -> None:
        """Write `group` together, or one by one when the database refuses something in it."""
        size = sum(len(append.records) for append in group)
        origins = (append.origin for append in group)
        try:
            with traced("ledger.commit", {"sync.events": size, "sync.appends": len(group)}, origins):
                await self._write(group)
        except Exception as error:  # noqa: BLE001 - every caller gets an outcome after any error
            if len(group) == 1 or not isinstance(error, DBAPIError):
                _refuse(group, error)
                return
            log.warning("group refused, writing its appends one by one", appends=len(group), error=describe(error))
            for append in group:
                await self._settle([append])

    async def _write(self, group: list[Append]) -> None:
        known: dict[UUID, EventRecord] = {}
        known_through = 0
        while True:
            plan = plan_group(group, known.values())
            try:
                await self._commit(plan.records)
            except IntegrityError:
                seen = len(known)
                async with self._database.append() as connection:
                    found, through = await LedgerRepository(connection).list_known(plan.records)
                known |= {record.id: record for record in found}
                known_through = max(known_through, through)
                if len(known) == seen:
                    raise
            else:
                await self._database.watermark.reach(known_through)
                # Only now: what a refused append conflicts with may have been a neighbour that was itself not written.
                for append in plan.refused:
                    append.refuse(IdempotencyKeyReused())
                for append, receipts in plan.accepted:
                    append.resolve(receipts)
                return

    async def _commit(self, records: list[EventRecord]) -> None:
        if not records:
            return
        started = time.perf_counter()
        try:
            await self._add_events_surely(records)
        except IntegrityError:
            raise  # something in it was known already, which a retry without it fixes
        except Exception:
            self._metrics.commit_failures.inc()
            raise
        self._metrics.committed([record.event_type for record in records], time.perf_counter() - started)

    async def _add_events_surely(self, records: list[EventRecord]) -> None:
        try:
            await self._add_events(records)
        except DatabaseUnavailable as error:
            if not error.connection_lost and not isinstance(error, CommitUncertain):
                raise
            # The commit may have arrived. The ids show whether it has, so writing the same records again is safe.
            await self._add_events(records)

    async def _add_events(self, records: list[EventRecord]) -> None:
        async with self._database.append() as connection:
            last = await LedgerRepository(connection).add_events(records) + len(records)
            server = server_of(connection)
        self._database.watermark.confirm(last, server)


def _refuse(group: list[Append], error: Exception) -> None:
    for append in group:
        append.refuse(error)
