"""The composition root: builds, starts and stops every long-lived object."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TypedDict

import structlog
from fastapi import FastAPI

from app.auth.jwks import KeyStore
from app.auth.key_source import KeySource
from app.auth.local import LocalKey
from app.auth.verifier import TokenVerifier
from app.config import PLACEHOLDERS, Settings
from app.database.durability import check_durability
from app.database.engine import Database
from app.database.migrations import prepare_schema
from app.database.single_process import sole_process
from app.events.ledger import Ledger
from app.files.handler import FileStateHandler
from app.log import configure_logging
from app.processing.periodic import PeriodicTask
from app.processing.sweeper import Sweeper
from app.startup import clear_refusals

log = structlog.get_logger(__name__)


class State(TypedDict):
    """What every request finds on `request.state`."""

    settings: Settings
    database: Database
    ledger: Ledger
    verifier: TokenVerifier


def create_lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """The lifespan of an application with these settings."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        configure_logging(level=settings.log_level, as_json=settings.log_json)
        _tell_mode(settings)
        # The stack closes in reverse order: sweep, ledger, keys, and the database they use last.
        async with AsyncExitStack() as stack:
            database = Database(settings)
            stack.push_async_callback(database.close)
            with clear_refusals():
                stack.enter_context(sole_process(settings))
                await prepare_schema(database)
                await check_durability(database)
                keys = await _open_keys(settings, stack)
            verifier = TokenVerifier(settings, keys)
            ledger = Ledger(
                database,
                group_size=settings.ledger_group_size,
                queue_size=settings.ledger_queue_size,
                append_timeout_seconds=settings.ledger_append_timeout,
            )
            stack.push_async_callback(ledger.close, settings.shutdown_timeout)
            sweep = _create_sweep(settings, database)
            stack.push_async_callback(sweep.stop, settings.shutdown_timeout)
            sweep.start()
            log.info("service started", version=settings.api_version, database=database.engine.dialect.name)
            yield State(settings=settings, database=database, ledger=ledger, verifier=verifier)
            log.info("service stopping")

    return lifespan


def _create_sweep(settings: Settings, database: Database) -> PeriodicTask:
    sweeper = Sweeper(
        database,
        [FileStateHandler()],
        batch_size=settings.sync_event_batch_size,
        max_attempts=settings.sync_event_max_attempts,
        retry_interval=timedelta(seconds=settings.sync_event_process_interval),
    )
    return PeriodicTask("sweep", sweeper.run_once, settings.sync_event_process_interval)


async def _open_keys(settings: Settings, stack: AsyncExitStack) -> KeySource:
    """The keys that tokens are checked with; in Auth0 mode fetched at once and then again and again."""
    if settings.local_mode:
        return LocalKey(settings)
    store = KeyStore(settings)
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
