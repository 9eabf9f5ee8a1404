"""A real service behind a relay, and a client of it."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from sync_client import RetryPolicy, SyncClient
from tests.support.process import ServiceProcess
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
