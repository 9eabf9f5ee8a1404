"""A real service behind a relay, and a client of it."""

import asyncio
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.auth.local import mint_local_token
from app.auth.token import Scope
from app.config import Settings
from sync_client import RetryPolicy, SyncClient
from tests.conftest import LOCAL_MODE, service_processes
from tests.consistency.owner import Owner, serving
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.process import ServiceProcess
from tests.support.receiver import Receiver, answer, receiving
from tests.support.relay import Relay
from tests.support.tokens import TokenFactory

# Enough attempts to outlive a restart, and no time lost between them.
PATIENT = RetryPolicy(attempts=200, base_seconds=0.02, cap_seconds=0.2)


class RelayedService:
    """One service after the other on the same database, all at `url`."""

    def __init__(self, start: Callable[..., ServiceProcess], relay: Relay) -> None:
        self._start = start
        self.relay = relay
        self.process: ServiceProcess

    @property
    def url(self) -> str:
        """Where the service is, whichever it is now."""
        return self.relay.url

    async def start(self, **variables: str) -> None:
        """Start a service, and send what comes to it from now on."""
        self.process = await asyncio.to_thread(self._start, **variables)
        self.relay.target = self.process.port

    async def crash(self) -> None:
        """Kill the service as a power cut does, and start another."""
        await asyncio.to_thread(self.process.kill)
        await self.start()


@pytest.fixture
async def service(start_service: Callable[..., ServiceProcess]) -> AsyncIterator[RelayedService]:
    """A running service."""
    async with Relay(target=0) as relay:
        service = RelayedService(start_service, relay)
        await service.start()
        yield service


@pytest.fixture
async def sync(service: RelayedService, tokens: TokenFactory) -> AsyncIterator[SyncClient]:
    """A client that does not give up."""
    async with SyncClient(service.url, tokens.token(), policy=PATIENT) as client:
        yield client


class Local:
    """A service in local mode, which sends to this machine, and the file that it writes to."""

    def __init__(self, process: ServiceProcess, path: Path, token: str) -> None:
        self.url, self.path, self.token = process.url, path, token


def mint(subject: str, *scopes: Scope) -> str:
    """A token of local mode."""
    settings = Settings(_env_file=None, auth0_domain="", secret_key=LOCAL_MODE["SECRET_KEY"])
    return mint_local_token(settings, subject, list(scopes), None, datetime.now(UTC))


@pytest.fixture(scope="module")
def local(
    sqlite_template: Path, issuer: KeyServer, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Local]:
    """One service for the module."""
    folder = tmp_path_factory.mktemp("local")
    path = folder / "sync.db"
    shutil.copy(sqlite_template, path)
    token = mint("operator", *Scope)
    with service_processes(f"sqlite:///{path}", issuer, fork_server, folder) as begin:
        process = begin(
            **LOCAL_MODE,
            WEBHOOK_ALLOW_PRIVATE_ADDRESSES="true",
            WEBHOOK_PORTS="0",
            WEBHOOK_RETRY_INTERVAL="0.1",
            WEBHOOK_RETRY_HOURS="0.00001",
        )
        process.wait_until_healthy()
        yield Local(process, path, token)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that refuses everything, in a thread of its own."""
    receiver = Receiver(lambda _request: answer(500))
    with _in_a_thread(receiving(receiver)):
        yield receiver


@pytest.fixture
def owner() -> Iterator[Owner]:
    """A service that holds no files, in a thread of its own."""
    owner = Owner()
    with _in_a_thread(serving(owner)):
        yield owner


@contextmanager
def _in_a_thread(server: AbstractAsyncContextManager[object]) -> Iterator[None]:
    ready, end, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            ready.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    yield
    loop.call_soon_threadsafe(end.set)
    thread.join()
    loop.close()


def set_aside(local: "Local", *events: UUID, error: str) -> None:
    """As if the sweep had set these events aside."""
    with closing(sqlite3.connect(local.path, timeout=60)) as connection, connection:
        failed = "UPDATE sync_events SET processed = 0, processed_at = NULL, retry_state = 'failed', last_error = ?"
        connection.executemany(f"{failed} WHERE id = ?", [(error, one.hex) for one in events])


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
