"""Settles deliveries: what came of them is written in groups."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from app.concurrency.shutdown import wait_or_cancel
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.deliveries.claim_repository import LeaseKey
from app.deliveries.policy import RetryPolicy, Verdict, decide
from app.deliveries.result import Result
from app.deliveries.settlement_repository import SettledDelivery, SettlementRepository
from app.deliveries.standing import Standing
from app.errors import NotFound, describe
from app.metrics import WebhookMetrics
from app.subscriptions.models import DeliveryStatus, Outcome, SubscriptionStatus
from app.subscriptions.repository import SubscriptionRepository

log = structlog.get_logger(__name__)

GROUP_SIZE = 200
RETRY_SECONDS = 0.5  # until the next try while the database can not serve


class Settler:
    """Results that arrive while a group is being written are written together by the next one.

    A task writes the groups and lives only while there are any. A result is kept until it is written or is found to
    be too late: the delivery has been claimed anew since.
    """

    def __init__(
        self,
        database: Database,
        process: str,
        policy: RetryPolicy,
        *,
        on_settled: Callable[[Sequence[Result]], None],
        metrics: WebhookMetrics,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._process = process
        self._policy = policy
        self._on_settled = on_settled
        self._metrics = metrics
        self._random = random
        self._queue: deque[Result] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def submit(self, result: Result) -> None:
        """Have the result written soon."""
        self._queue.append(result)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_groups(), name="webhook-settler", context=Context())

    async def close(self, timeout_seconds: float) -> None:
        """Write what is there; what the database does not take in time is left to whoever claims it next."""
        self._stopping.set()
        if self._writer is not None and not await wait_or_cancel(self._writer, timeout_seconds):
            log.error("settler closed before every result was written")

    async def _write_groups(self) -> None:
        try:
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(GROUP_SIZE, len(self._queue)))]
                try:
                    await self._write_surely(group)
                finally:
                    self._on_settled(group)
        finally:
            self._writer = None

    async def _write_surely(self, group: Sequence[Result]) -> None:
        """Write `group` as soon as the database can serve; if something in it is bad, the others one by one."""
        while True:
            try:
                return await self._write(group)
            except DatabaseUnavailable as error:
                log.warning("settlement put off", results=len(group), reason=describe(error.__cause__ or error))
                if self._stopping.is_set():
                    return None
            except Exception:
                log.exception("settlement failed", results=len(group))
                if len(group) > 1:
                    for result in group:
                        await self._write_surely([result])
                return None
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _write(self, group: Sequence[Result]) -> None:
        async with self._database.transaction() as session:
            repository = SettlementRepository(session, self._process)
            now = await repository.share_lanes()
            verdicts = {result.delivery.key: self._decide(result, now) for result in group}
            settled = [_settled(result, verdicts[result.delivery.key], now) for result in group]
            lanes = await repository.mark_attempted(settled)
            written = [result for result in group if result.delivery.key in lanes]
            await repository.add_attempts([_attempt(result) for result in written])
            finished = [lane for key, lane in lanes.items() if verdicts[key].status is not DeliveryStatus.PENDING]
            if finished:
                await repository.mark_next_due(finished)
            died = {result.subscription_id for result in written if verdicts[result.delivery.key].is_dead}
            reasons = await self._note_standings(repository, written, died, now)
        self._report(group, written, verdicts, now)
        for standing, reason in reasons:
            await self._disable(standing, reason)

    def _decide(self, result: Result, now: datetime) -> Verdict:
        return decide(
            result.outcome,
            result.delivery.failures,
            now,
            self._policy,
            random=self._random,
            retry_after_seconds=result.answer.retry_after_seconds,
        )

    async def _note_standings(
        self, repository: SettlementRepository, written: Sequence[Result], died: Collection[UUID], now: datetime
    ) -> list[tuple[Standing, str]]:
        """Write how the subscriptions stand after these; returns those to disable, and why.

        What came from an address that a subscription has no more says nothing of it.
        """
        succeeded = {result.subscription_id for result in written if result.outcome is Outcome.DELIVERED}
        failed = {result.subscription_id for result in written if result.outcome is not Outcome.DELIVERED}
        standings = await repository.list_standings(succeeded, failed)
        by_id = {standing.subscription_id: standing for standing in standings}
        gone = set()
        for result in written:
            standing = by_id.get(result.subscription_id)
            if standing is None or standing.url != result.url:
                continue
            standing.note(result.outcome, now, self._random, result.answer.retry_after_seconds)
            if result.outcome is Outcome.GONE:
                gone.add(result.subscription_id)
        failed_long = {one.subscription_id for one in standings if one.has_failed_for(self._policy.disable_after, now)}
        for standing in standings:
            # With nothing left to send, days may pass without an attempt; they are no days of failures.
            if standing.subscription_id in died and not await repository.has_pending(standing.subscription_id):
                standing.failing_since = None
        await repository.mark_standings(standings)
        days = self._policy.disable_after.total_seconds() / 86_400
        return [
            *((by_id[one], "The receiver answered 410 Gone.") for one in gone),
            *((by_id[one], f"Every attempt of the last {days:g} days has failed.") for one in failed_long - gone),
        ]

    async def _disable(self, standing: Standing, reason: str) -> None:
        """In a transaction of its own, since it must be alone with the lanes; if that fails the next attempt tells.

        Nothing is done when the subscription has been changed meanwhile, or something has been delivered. Raises
        nothing: what is committed already would be written once more.
        """
        try:
            async with self._database.transaction() as session:
                repository = SubscriptionRepository(session)
                stored = await repository.get_for_change(standing.subscription_id)
                is_as_before = stored.url == standing.url and stored.failing_since == standing.failing_since
                if stored.status != SubscriptionStatus.ACTIVE or not is_as_before:
                    return
                await repository.mark_disabled(stored, reason)
        except NotFound:
            return
        except DatabaseUnavailable as error:
            why = describe(error.__cause__ or error)
            log.warning("disabling put off", subscription_id=str(standing.subscription_id), reason=why)
            return
        except Exception:
            log.exception("disabling failed", subscription_id=str(standing.subscription_id))
            return
        log.error("subscription disabled", subscription_id=str(standing.subscription_id), reason=reason)

    def _report(
        self, group: Sequence[Result], written: Collection[Result], verdicts: dict[LeaseKey, Verdict], now: datetime
    ) -> None:
        """Count and log what is committed."""
        if len(written) < len(group):
            self._metrics.late.inc(len(group) - len(written))
            log.warning("results came too late", results=len(group) - len(written))
        for result in written:
            status = verdicts[result.delivery.key].status
            self._metrics.attempted(result.outcome, result.answer.duration_seconds)
            if status is DeliveryStatus.DELIVERED:
                if result.delivery.is_first:
                    self._metrics.delivered((now - result.delivery.event.created_at).total_seconds())
                continue
            if status is DeliveryStatus.DEAD:
                self._metrics.dead.inc()
            log.warning(
                "attempt failed" if status is DeliveryStatus.PENDING else "delivery is dead", **_details(result)
            )


def _settled(result: Result, verdict: Verdict, now: datetime) -> SettledDelivery:
    return SettledDelivery(
        id=result.delivery.id,
        fence=result.delivery.fence,
        status=verdict.status,
        due_at=verdict.due_at,
        attempts=result.delivery.attempts + 1,
        failures=verdict.failures,
        settled_at=None if verdict.status is DeliveryStatus.PENDING else now,
    )


def _attempt(result: Result) -> dict[str, Any]:
    answer = result.answer
    return {
        "delivery_id": result.delivery.id,
        "number": result.delivery.attempts + 1,
        "started_at": result.started_at,
        "duration_ms": round(answer.duration_seconds * 1000),
        "status_code": answer.status_code,
        "outcome": result.outcome,
        "response": answer.response,
        "error": answer.error,
    }


def _details(result: Result) -> dict[str, Any]:
    return {
        "subscription_id": str(result.subscription_id),
        "delivery_id": result.delivery.id,
        "event_id": str(result.delivery.event.id),
        "attempt": result.delivery.attempts + 1,
        "outcome": str(result.outcome),
        "status": result.answer.status_code,
        "reason": result.answer.error,
    }
