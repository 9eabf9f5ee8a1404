"""Settles deliveries: writes the results of attempts in groups."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from random import random
from uuid import UUID

import structlog

from app.concurrency.shutdown import wait_for_event
from app.concurrency.task import Batcher
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryDecision, RetryPolicy, decide, has_failed_for, record_outcome
from app.deliveries.settlement_repository import Result, SettlementRepository
from app.errors import NotFound, describe
from app.log.sparing import SparingLog
from app.subscriptions.lane import share_lanes
from app.subscriptions.models import DeliveryStatus, Outcome, Subscription, SubscriptionStatus
from app.subscriptions.repository import SubscriptionRepository

log = structlog.get_logger(__name__)

GROUP_SIZE = 200
RETRY_SECONDS = 0.5  # until the next try while the database cannot serve
LOCKED_SECONDS = 0.05  # until the next try while another transaction has locked the subscription


class Settler:
    """Writes results that arrive while a group is being written together with the next group.

    A result is kept until it is written, or found too late because the delivery was claimed again. Results of a
    subscription that another transaction has locked wait alone.
    """

    def __init__(
        self,
        database: Database,
        process: str,
        policy: RetryPolicy,
        *,
        on_settled: Callable[[Sequence[Result]], None],
        metrics: WebhookMetrics,
    ) -> None:
        self._database = database
        self._process = process
        self._policy = policy
        self._on_settled = on_settled
        self._metrics = metrics
        self._queue: deque[Result] = deque()
        self._batcher = Batcher("webhook-settler", self._write_group, lambda: bool(self._queue))
        self._stopping = asyncio.Event()
        self._log = SparingLog(__name__)

    def submit(self, result: Result) -> None:
        self._queue.append(result)
        self._batcher.wake()

    async def close(self, timeout_seconds: float) -> None:
        """Write the waiting results; the rest is claimed again after its lease."""
        self._stopping.set()
        if not await self._batcher.close(timeout_seconds):
            log.error("settler closed before every result was written")

    async def _write_group(self) -> None:
        group = [self._queue.popleft() for _ in range(min(GROUP_SIZE, len(self._queue)))]
        locked: list[Result] = []
        try:
            locked = await self._write_when_possible(group)
        finally:
            keys = {result.delivery.key for result in locked}
            self._on_settled([result for result in group if result.delivery.key not in keys])
        if locked and not self._stopping.is_set():
            asyncio.get_running_loop().call_later(LOCKED_SECONDS, self._submit_again, locked)

    def _submit_again(self, results: Sequence[Result]) -> None:
        if not self._stopping.is_set():
            self._queue.extend(results)
            self._batcher.wake()

    async def _write_when_possible(self, group: Sequence[Result]) -> list[Result]:
        """Write `group` as soon as the database can serve; after any other error write its results one by one.

        Returns the results of subscriptions that another transaction has locked; they are not written yet.
        """
        while True:
            try:
                return await self._write(group)
            except DatabaseUnavailable as error:
                why = describe(error.__cause__ or error)
                self._log.warning("settlement postponed", results=len(group), reason=why)
                if self._stopping.is_set():
                    return []
            except Exception:
                log.exception("settlement failed", results=len(group))
                if len(group) == 1:
                    return []
                return [one for result in group for one in await self._write_when_possible([result])]
            await wait_for_event(self._stopping, RETRY_SECONDS)

    async def _write(self, group: Sequence[Result]) -> list[Result]:
        async with self._database.transaction(wait_for_standbys=False) as session:
            repository = SettlementRepository(session, self._process)
            now = await share_lanes(session)
            subscriptions, locked = await repository.lock_health(*_by_success(group))
            decided = [(one, self._decide(one, now)) for one in group if one.subscription_id not in locked]
            lanes = await repository.mark_attempted(decided, now)
            written = [(one, decision) for one, decision in decided if one.delivery.key in lanes]
            await repository.add_attempts([one for one, _ in written])
            settled = [one for one, decision in written if decision.status is not DeliveryStatus.PENDING]
            if settled:
                await repository.mark_next_due([lanes[one.delivery.key] for one in settled])
            reasons = await self._record_health(repository, subscriptions, written, now)
        if late := len(decided) - len(written):
            self._metrics.late.inc(late)
            log.warning("results came too late", results=late)
        for result, decision in written:
            self._report(result, decision.status, now)
        for one, reason in reasons:
            await self._disable(one, reason)
        return [one for one in group if one.subscription_id in locked]

    def _decide(self, result: Result, now: datetime) -> RetryDecision:
        return decide(
            result.outcome,
            result.delivery.failures,
            now,
            self._policy,
            random=random,
            retry_after_seconds=result.response.retry_after_seconds,
        )

    async def _record_health(
        self,
        repository: SettlementRepository,
        subscriptions: Sequence[Subscription],
        written: Sequence[tuple[Result, RetryDecision]],
        now: datetime,
    ) -> list[tuple[Subscription, str]]:
        """Update the health of these locked subscriptions; returns the ones to disable, and why.

        A result from a former address of the subscription does not count for its health.
        """
        by_id = {one.id: one for one in subscriptions}
        reasons: dict[UUID, str] = {}
        for result, _ in written:
            one = by_id.get(result.subscription_id)
            if one is None or one.url != result.url:
                continue
            record_outcome(one, result.outcome, now, random, result.response.retry_after_seconds)
            if result.outcome is Outcome.GONE:
                reasons[one.id] = "The receiver responded with 410 Gone."
        days = self._policy.disable_after.total_seconds() / 86_400
        for one in subscriptions:
            if has_failed_for(one, self._policy.disable_after, now):
                reasons.setdefault(one.id, f"Every attempt of the last {days:g} days has failed.")
        for id_ in {one.subscription_id for one, decision in written if decision.status is DeliveryStatus.DEAD}:
            # With nothing left to send, days may pass without an attempt; they are not days of failures.
            if id_ in by_id and not await repository.has_pending(id_):
                by_id[id_].failing_since = None
        return [(by_id[id_], reason) for id_, reason in reasons.items()]

    async def _disable(self, failed: Subscription, reason: str) -> None:
        """Disable the subscription unless it was changed, or something was delivered, in the meantime.

        A transaction of its own, since it takes the lanes' lock alone; if it fails, the next attempt finds the same
        reason. Raises nothing: the results are committed and would be written again.
        """
        try:
            async with self._database.transaction(wait_for_standbys=False) as session:
                repository = SubscriptionRepository(session)
                stored = await repository.get_for_change(failed.id)
                is_as_before = stored.url == failed.url and stored.failing_since == failed.failing_since
                if stored.status != SubscriptionStatus.ACTIVE or not is_as_before:
                    return
                await repository.mark_disabled(stored, reason)
        except NotFound:
            return
        except DatabaseUnavailable as error:
            why = describe(error.__cause__ or error)
            log.warning("disabling postponed", subscription_id=str(failed.id), reason=why)
            return
        except Exception:
            log.exception("disabling failed", subscription_id=str(failed.id))
            return
        log.error("subscription disabled", subscription_id=str(failed.id), reason=reason)

    def _report(self, result: Result, status: DeliveryStatus, now: datetime) -> None:
        self._metrics.attempts.labels(result.outcome).inc()
        self._metrics.attempt_duration.observe(result.response.duration_seconds)
        if status is DeliveryStatus.DELIVERED:
            if result.delivery.is_first:
                self._metrics.delay.observe((now - result.delivery.event.created_at).total_seconds())
            return
        if status is DeliveryStatus.DEAD:
            self._metrics.dead.inc()
        log.warning(
            "attempt failed" if status is DeliveryStatus.PENDING else "delivery is dead",
            subscription_id=str(result.subscription_id),
            delivery_id=result.delivery.id,
            event_id=str(result.delivery.event.id),
            attempt=result.delivery.attempts + 1,
            outcome=str(result.outcome),
            status=result.response.status_code,
            reason=result.response.error,
        )


def _by_success(group: Sequence[Result]) -> tuple[set[UUID], set[UUID]]:
    """The subscriptions with results that succeeded, and with results that failed."""
    succeeded = {result.subscription_id for result in group if result.outcome is Outcome.DELIVERED}
    return succeeded, {result.subscription_id for result in group if result.outcome is not Outcome.DELIVERED}
