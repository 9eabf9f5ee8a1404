"""The composition root: builds, starts and stops every long-lived object."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TypedDict

import structlog
from fastapi import FastAPI

from app.auth.keys import KeySource, KeyStore
from app.auth.local import LocalKey
from app.auth.rate_limit import RateLimiter
from app.auth.verifier import TokenVerifier
from app.changes.service import ChangeService
from app.concurrency.periodic import PeriodicTask
from app.concurrency.weighted_semaphore import BodySemaphore
from app.config import PLACEHOLDERS, Settings
from app.database.durability import INTERVAL_SECONDS as CHECK_SECONDS
from app.database.durability import DurabilityCheck, check_durability, check_standbys
from app.database.engine import CLOSE_SECONDS, Database
from app.database.migrations import Schema, prepare_schema
from app.database.preflight import check_fitness
from app.database.prober import Prober
from app.database.single_process import sole_process
from app.database.wal import INTERVAL_SECONDS, WalTruncation
from app.deliveries.background import DeliveryTasks
from app.deliveries.fan_out import FanOutHandler
from app.deliveries.message import MessageFactory
from app.deliveries.progress_repository import FileProgressReader
from app.deliveries.service import DeliveryService
from app.events.event_reader import EventReader
from app.events.ledger import Ledger
from app.events.repository import EventRepository
from app.files.handler import FileStateHandler
from app.files.schemas import DeliveryProgress
from app.gc_tuning import tune_garbage_collector
from app.http.pages import Pages
from app.metrics import Metrics
from app.operations.drain import Drain
from app.operations.exporter import MetricsExporter
from app.operations.health import HealthMonitor
from app.operations.metrics_server import metrics_server
from app.outbound.address import AddressPolicy
from app.outbound.cipher import SecretCipher, create_cipher
from app.outbound.client import OutboundClient
from app.startup import clear_refusals
from app.subscriptions.service import SubscriptionService
from app.sweep.sweeper import Sweeper
from app.tracing.export import exporting_spans

log = structlog.get_logger(__name__)

STANDBY_CHECK_SECONDS = 10.0
LARGE_BODIES = 4  # of the largest size, that are read and written at once


class State(TypedDict):
    """What every request finds on `request.state`."""

    settings: Settings
    database: Database
    ledger: Ledger
    event_reader: EventReader
    changes: ChangeService
    verifier: TokenVerifier
    rate_limiter: RateLimiter | None
    body_semaphore: BodySemaphore
    list_pages: Pages
    change_pages: Pages
    metrics: Metrics
    monitor: HealthMonitor
    exporter: MetricsExporter
    subscriptions: SubscriptionService
    deliveries: DeliveryService
    delivery_progress: DeliveryProgress


def create_lifespan(settings: Settings, metrics: Metrics) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """The lifespan of an application with these settings."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        _tell_mode(settings)
        # The stack closes in reverse order: sweep and webhooks, feed, ledger, keys, their database, what traces them.
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(exporting_spans(settings.api_version))
            drain = Drain(settings.shutdown_delay)
            stack.enter_context(drain.watching())
            database = Database(settings, metrics.database)
            stack.push_async_callback(database.close)
            schema = Schema()
            with clear_refusals():
                stack.enter_context(sole_process(settings))
                await check_fitness(database)
                await prepare_schema(database, schema)
                await check_durability(database)
                await _watch_standbys(settings, database, stack)
                keys = await _open_keys(settings, metrics, stack)
            verifier = TokenVerifier(settings, keys)
            ledger = Ledger(
                database,
                group_size=settings.ledger_group_size,
                queue_size=settings.ledger_queue_size,
                append_timeout_seconds=settings.ledger_append_timeout,
                metrics=metrics.ledger,
            )
            stack.push_async_callback(ledger.close, settings.shutdown_timeout)
            event_reader = EventReader(database, settings.database_statement_timeout)
            stack.push_async_callback(event_reader.close)
            changes = ChangeService(database, settings, metrics.changes, partial(metrics.http.rejected, "followers"))
            stack.push_async_callback(changes.stop)
            changes.start()
            drain.before_stop(changes.close)
            with clear_refusals():
                cipher = create_cipher(settings)
                messages = await _create_messages(settings, database, cipher)
            client = OutboundClient(AddressPolicy.of(settings), settings.webhook_timeout)
            stack.push_async_callback(client.close)
            delivery_tasks = DeliveryTasks(settings, database, messages, client, metrics.webhooks)
            sweeper = _create_sweeper(settings, database, metrics, delivery_tasks.wake)
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
            exporter = MetricsExporter(metrics, monitor)
            with clear_refusals():
                await stack.enter_async_context(metrics_server(settings, metrics, exporter))
            _look_after(database, metrics, stack)
            sweep = PeriodicTask("sweep", sweeper.run_once, settings.sync_event_process_interval)
            stack.push_async_callback(_stop_together, settings.shutdown_timeout, sweep, delivery_tasks)
            sweep.start()
            delivery_tasks.start()
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
                rate_limiter=_create_rate_limiter(settings),
                body_semaphore=BodySemaphore(LARGE_BODIES * settings.max_batch_bytes),
                list_pages=_create_pages(settings, metrics),
                change_pages=_create_pages(settings, metrics),
                metrics=metrics,
                monitor=monitor,
                exporter=exporter,
                subscriptions=SubscriptionService(
                    database,
                    cipher,
                    AddressPolicy.of(settings),
                    max_subscriptions=settings.webhook_max_subscriptions,
                    on_changed=delivery_tasks.wake,
                    on_deleted=delivery_tasks.remove_soon,
                ),
                deliveries=DeliveryService(database, messages, client, on_added=delivery_tasks.wake),
                delivery_progress=FileProgressReader(),
            )
            log.info("service stopping")

    return lifespan


def _create_pages(settings: Settings, metrics: Metrics) -> Pages:
    return Pages(settings.database_pool_timeout, partial(metrics.http.rejected, "large_pages"))


def _create_rate_limiter(settings: Settings) -> RateLimiter | None:
    rate = settings.rate_limit_per_second
    return RateLimiter(rate, settings.rate_limit_burst) if rate else None


def _create_sweeper(settings: Settings, database: Database, metrics: Metrics, on_swept: Callable[[], None]) -> Sweeper:
    return Sweeper(
        database,
        [FileStateHandler(), FanOutHandler()],
        batch_size=settings.sync_event_batch_size,
        max_attempts=settings.sync_event_max_attempts,
        retry_interval=timedelta(seconds=settings.sync_event_process_interval),
        metrics=metrics.sweep,
        on_swept=on_swept,
    )


async def _stop_together(timeout_seconds: float, *tasks: PeriodicTask | DeliveryTasks) -> None:
    await asyncio.gather(*(task.stop(timeout_seconds) for task in tasks))


def _look_after(database: Database, metrics: Metrics, stack: AsyncExitStack) -> None:
    if database.is_sqlite:
        task = PeriodicTask("wal", WalTruncation(database, metrics.database).run_once, INTERVAL_SECONDS)
    else:
        task = PeriodicTask("durability", DurabilityCheck(database).run_once, CHECK_SECONDS)
    stack.push_async_callback(task.stop, CLOSE_SECONDS)
    task.start()


async def _create_messages(settings: Settings, database: Database, cipher: SecretCipher) -> MessageFactory:
    async with database.read() as session:
        ledger_id = await EventRepository(session).get_ledger_id()
    return MessageFactory(cipher, ledger_id, settings.api_version)


async def _watch_standbys(settings: Settings, database: Database, stack: AsyncExitStack) -> None:
    """Find out whether there are synchronous standbys, now and then again and again."""
    await check_standbys(database)
    task = PeriodicTask("standbys", lambda _stopping: check_standbys(database), STANDBY_CHECK_SECONDS)
    stack.push_async_callback(task.stop, settings.database_statement_timeout)
    task.start()


async def _open_keys(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> KeySource:
    """The keys that tokens are checked with; in Auth0 mode fetched at once and then again and again."""
    if settings.local_mode:
        return LocalKey(settings)
    store = KeyStore(settings, metrics=metrics.auth)
    stack.push_async_callback(store.close)
    interval = min(settings.jwks_refresh_seconds, settings.jwks_cooldown_seconds)
    refresh = PeriodicTask("jwks-refresh", lambda _stopping: store.refresh_if_due(), interval)
    stack.push_async_callback(refresh.stop, settings.jwks_timeout_seconds)
    refresh.start()
    return store


def _tell_mode(settings: Settings) -> None:
    if settings.local_mode:
        log.warning("local mode: tokens are minted by `python -m app token`; set AUTH0_DOMAIN to use Auth0")
    elif settings.auth0_domain in PLACEHOLDERS:
        log.warning(
            "AUTH0_DOMAIN still has its placeholder value: no token will be accepted",
            domain=settings.auth0_domain,
        )
    else:
        log.warning("Auth0 mode", domain=settings.auth0_domain, audience=settings.api_audience)
