"""The composition root: builds, starts and stops every long-lived object."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import httpx
import structlog
from fastapi import FastAPI

from app.auth.dependencies import TokenVerifier
from app.auth.keys import open_keys
from app.changes.service import ChangeService
from app.concurrency.rate_limit import RateLimiter
from app.concurrency.shutdown import Drain
from app.concurrency.task import PeriodicTask
from app.config import Settings
from app.consistency.background import ConsistencyTasks
from app.consistency.file_check_repository import FileCheckHandler
from app.consistency.metrics import ConsistencyMetrics
from app.consistency.service import open_consistency
from app.database.engine import Database
from app.database.opening import open_database
from app.database.watch import Prober
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.repository import FanOutHandler
from app.deliveries.service import Webhooks, open_webhooks
from app.events.event_reader import EventReader
from app.events.ledger import Ledger
from app.files.repository import FileStateHandler
from app.http.body import LargeBodies
from app.http.connection_limit import ConnectionLimit
from app.http.pages import PageMemory
from app.metrics import Metrics
from app.operations.health import HealthMonitor
from app.operations.metrics import metrics_server
from app.startup import clear_refusals, tune_garbage_collector
from app.state import State
from app.sweep.sweeper import Sweeper
from app.tracing import exporting_spans

log = structlog.get_logger(__name__)


def create_lifespan(settings: Settings, metrics: Metrics) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    consistency_metrics = ConsistencyMetrics(metrics.registry)
    webhook_metrics = WebhookMetrics(metrics.registry)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        # The stack closes in reverse order: sweep and webhooks, feed, ledger, keys, their database, what traces them.
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(exporting_spans(settings.api_version))
            drain = Drain(settings.shutdown_delay)
            stack.enter_context(drain.watching())
            with clear_refusals(), drain.ending_start():
                database, schema = await stack.enter_async_context(
                    open_database(settings, metrics.database, partial(metrics.http.rejected, "connections"))
                )
                keys = await stack.enter_async_context(open_keys(settings, metrics.auth))
                trust = httpx.create_ssl_context()  # shared: each context parses every trusted certificate
                webhooks = await stack.enter_async_context(open_webhooks(settings, database, webhook_metrics, trust))
            verifier = TokenVerifier(settings, keys)
            ledger = Ledger.of(settings, database, metrics.ledger)
            stack.push_async_callback(ledger.close, settings.shutdown_timeout)
            with clear_refusals():
                consistency = await stack.enter_async_context(
                    open_consistency(
                        settings,
                        database,
                        ledger,
                        on_redelivered=webhooks.wake,
                        metrics=consistency_metrics,
                        trust=trust,
                    )
                )
            event_reader = EventReader(database, settings.database_statement_timeout)
            stack.push_async_callback(event_reader.close)
            page_memory = PageMemory()
            changes = ChangeService(
                database, settings, metrics.changes, page_memory, partial(metrics.http.rejected, "followers")
            )
            stack.push_async_callback(changes.stop)
            changes.start()
            drain.before_stop(changes.close)
            sweeper = _create_sweeper(settings, database, metrics, webhooks.wake)
            prober = Prober(settings)
            stack.push_async_callback(prober.close)
            monitor = HealthMonitor(
                prober,
                schema,
                keys,
                drain,
                database,
                version=settings.api_version,
                last_sweep_at=lambda: sweeper.last_pass_at,
            )
            with clear_refusals():
                await stack.enter_async_context(metrics_server(settings, metrics, monitor))
            sweep = PeriodicTask("sweep", sweeper.run_once, settings.sync_event_process_interval, at_once=True)
            background = (sweep, webhooks, consistency.tasks)
            stack.push_async_callback(_stop_together, settings.shutdown_timeout, *background)
            for task in background:
                task.start()
            rate = settings.rate_limit_per_second
            tune_garbage_collector()
            metrics.tell_build(settings.api_version, database.engine.dialect.name)
            log.info("service started", version=settings.api_version, database=database.engine.dialect.name)
            yield State(
                settings=settings,
                database=database,
                ledger=ledger,
                event_reader=event_reader,
                changes=changes,
                verifier=verifier,
                rate_limiter=RateLimiter(rate, settings.rate_limit_burst) if rate else None,
                large_bodies=LargeBodies.of(settings, partial(metrics.http.rejected, "large_bodies")),
                page_memory=page_memory,
                connection_limit=ConnectionLimit.of(settings, metrics.http.connections_closed.inc),
                metrics=metrics,
                monitor=monitor,
                subscriptions=webhooks.subscriptions,
                deliveries=webhooks.deliveries,
                consistency=consistency,
            )
            log.info("service stopping")

    return lifespan


def _create_sweeper(settings: Settings, database: Database, metrics: Metrics, on_swept: Callable[[], None]) -> Sweeper:
    return Sweeper(
        database,
        [FileStateHandler(), FanOutHandler(), FileCheckHandler()],
        batch_size=settings.sync_event_batch_size,
        max_attempts=settings.sync_event_max_attempts,
        retry_interval=timedelta(seconds=settings.sync_event_process_interval),
        metrics=metrics.sweep,
        on_swept=on_swept,
    )


async def _stop_together(timeout_seconds: float, *tasks: PeriodicTask | Webhooks | ConsistencyTasks) -> None:
    await asyncio.gather(*(task.stop(timeout_seconds) for task in tasks))
