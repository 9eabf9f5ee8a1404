"""The webhook parts of one replica, run pass by pass as a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import httpx

from app.database.engine import Database
from app.deliveries.dispatcher import Dispatcher
from app.deliveries.message import MessageFactory
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.policy import RetryPolicy
from app.events.repository import EventRepository
from app.outbound.address import AddressPolicy
from app.outbound.client import OutboundClient
from app.outbound.secret import SecretCipher
from tests.deliveries.support import make_sweeper
from tests.support.receiver import KEY
from tests.support.waiting import until

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgYnl0ZXM="
POLICY = RetryPolicy(timedelta(milliseconds=50), 3, timedelta(days=5))
PATIENT = RetryPolicy(timedelta(milliseconds=50), 1000, timedelta(days=5))


@cache
def trust() -> ssl.SSLContext:
    """One for all: each parses every trusted certificate."""
    return httpx.create_ssl_context()


def encrypted(text: str = SECRET) -> bytes:
    """As it is kept in the database."""
    return SecretCipher([KEY]).encrypt(text)


class Replica:
    """A sweep and a dispatcher; `sent` counts what was claimed in all."""

    def __init__(
        self, database: Database, dispatcher: Dispatcher, wake: asyncio.Event, metrics: WebhookMetrics
    ) -> None:
        self.database = database
        self.dispatcher = dispatcher
        self.wake = wake
        self.metrics = metrics

    async def sweep(self) -> None:
        """Turn what was recorded into deliveries."""
        await make_sweeper(self.database).run_once()

    async def dispatch_until(
        self, condition: Callable[[], bool | Awaitable[bool]], deadline_seconds: float = 30
    ) -> None:
        """Run pass after pass, whenever one is wanted, until `condition` holds."""

        async def repeat() -> None:
            while True:
                self.wake.clear()
                await self.dispatcher.run_once()
                try:
                    async with asyncio.timeout(0.05):
                        await self.wake.wait()
                except TimeoutError:
                    continue

        passes = asyncio.create_task(repeat())
        waiting = asyncio.create_task(until(condition, deadline_seconds))
        done, _ = await asyncio.wait({passes, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (passes, waiting):
            task.cancel()
        await asyncio.wait({passes, waiting})
        for task in done:
            task.result()

    async def settle(self) -> None:
        """Wait until everything that is under way is settled."""
        await until(lambda: not len(self.dispatcher.leases))


@asynccontextmanager
async def running(database: Database, **changes: Any) -> AsyncIterator[Replica]:
    """A replica with short intervals, that may send to loopback addresses; it is stopped in order at the end."""
    addresses = AddressPolicy(allow_private=True, ports=frozenset())
    client = OutboundClient(addresses, changes.pop("timeout_seconds", 5), ssl_context=trust())
    wake, metrics = asyncio.Event(), WebhookMetrics()
    async with database.read() as session:
        ledger_id = await EventRepository(session).get_ledger_id()
    options: dict[str, Any] = {"concurrency": 100, "lease": timedelta(seconds=10), "wake": wake, "metrics": metrics}
    policy, stop_seconds = changes.pop("policy", POLICY), changes.pop("stop_seconds", 5)
    messages = MessageFactory(SecretCipher([KEY]), ledger_id, "1")
    dispatcher = Dispatcher(database, messages, client, policy, **{**options, **changes})
    try:
        yield Replica(database, dispatcher, wake, metrics)
    finally:
        await dispatcher.stop(stop_seconds)
        await client.close()
