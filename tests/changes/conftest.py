"""A real process to follow, and a client with a token for it."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from app.changes.tail import Tail
from app.database.engine import Database
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory


@pytest.fixture
def service(start_service: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A replica that sends keep-alives every second."""
    return start_service(CHANGES_KEEP_ALIVE="1", SHUTDOWN_REQUEST_TIMEOUT="100", LOG_LEVEL="INFO", LOG_FORMAT="json")


@pytest.fixture
async def outside(tokens: TokenFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client for any process, with a token that is good everywhere."""
    headers = {"Authorization": f"Bearer {tokens.token()}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=30) as client:
        yield client


@pytest.fixture
async def tail(database: Database) -> AsyncIterator[Tail]:
    """A reader that looks a hundred times a second."""
    tail = Tail(database, poll_interval_seconds=0.01)
    tail.start()
    yield tail
    await tail.stop()
