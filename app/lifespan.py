"""The composition root: builds, starts and stops every long-lived object."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TypedDict

import structlog
from fastapi import FastAPI

from app.auth.jwks import KeyStore
from app.auth.key_source import KeySource
from app.auth.local import LocalKey
from app.auth.rate_limit import RateLimiter
from app.auth.verifier import TokenVerifier
from app.changes.service import ChangeService
from app.config import PLACEHOLDERS, Settings
from app.database.durability import check_durability
from app.database.engine import Database
from app.database.migrations import Schema, prepare_schema
from app.database.single_process import sole_process
from app.events.event_reader import EventReader
from app.events.ledger import Ledger
from app.files.handler import FileStateHandler
from app.http.body_budget import BodyBudget
from app.metrics import Metrics
from app.operations.drain import Drain
from app.operations.exporter import MetricsExporter
from app.operations.health import HealthMonitor
from app.operations.metrics_server import metrics_server
from app.processing.periodic import PeriodicTask
from app.processing.sweeper import Sweeper
from app.startup import clear_refusals
from app.tracing.export import exporting_spans

log = structlog.get_logger(__name__)


class State(TypedDict):
    """What every request finds on `request.state`."""

    settings: Settings
    database: Database
    ledger: Ledger
    event_reader: EventReader
    changes: ChangeService
    verifier: TokenVerifier
    rate_limiter: RateLimiter | None
    body_budget: BodyBudget
    metrics: Metrics
    monitor: HealthMonitor
    exporter: MetricsExporter


def create_lifespan(settings: Settings, metrics: Metrics) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """The lifespan of an application with these settings."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        _tell_mode(settings)
        # The stack closes in reverse order: sweep, feed, ledger, keys, their database, and what traces them last.
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(exporting_spans(settings.api_version))
            drain = Drain(settings.shutdown_delay)
            stack.enter_context(drain.watching())
            database = Database(settings, metrics.database)
            stack.push_async_callback(database.close)
            schema = Schema()
            with clear_refusals():
                stack.enter_context(sole_process(settings))
                await prepare_schema(database, schema)
                await check_durability(database)
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
            event_reader = EventReader(database)
            stack.push_async_callback(event_reader.close)
            changes = ChangeService(database, settings, metrics.changes, partial(metrics.http.rejected, "followers"))
            stack.push_async_callback(changes.stop)
            changes.start()
            drain.before_stop(changes.close)
            sweeper = _create_sweeper(settings, database, metrics)
            monitor = HealthMonitor(
                database, schema, keys, drain, version=settings.api_version, last_sweep_at=lambda: sweeper.last_pass_at
            )
            stack.push_async_callback(monitor.close)
            exporter = MetricsExporter(metrics, monitor)
            with clear_refusals():
                await stack.enter_async_context(metrics_server(settings, metrics, exporter))
            sweep = PeriodicTask("sweep", sweeper.run_once, settings.sync_event_process_interval)
            stack.push_async_callback(sweep.stop, settings.shutdown_timeout)
            sweep.start()
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
                body_budget=BodyBudget(settings.max_batch_bytes),
                metrics=metrics,
                monitor=monitor,
                exporter=exporter,
            )
            log.info("service stopping")

    return lifespan


def _create_rate_limiter(settings: Settings) -> RateLimiter | None:
    rate = settings.rate_limit_per_second
    return RateLimiter(rate, settings.rate_limit_burst) if rate else None


def _create_sweeper(settings: Settings, database: Database, metrics: Metrics) -> Sweeper:
    return Sweeper(
        database,
        [FileStateHandler()],
        batch_size=settings.sync_event_batch_size,
        max_attempts=settings.sync_event_max_attempts,
        retry_interval=timedelta(seconds=settings.sync_event_process_interval),
        metrics=metrics.sweep,
    )


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
