"""Sends one request to a subscriber, within bounds, and tells what came of it whatever happens."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import httpcore
import httpx

from app.errors import describe
from app.webhooks.address import AddressPolicy, AddressRefused
from app.webhooks.answer import SHOWN_BYTES, Answer, printable, retry_after_seconds
from app.webhooks.connector import CheckedNetwork, ConnectionRefusedByPolicy, Resolve, resolve

READ_BYTES = 65_536  # of an answer, before its connection is closed
_IDLE_SECONDS = 30
_IDLE_CONNECTIONS = 200
# What went wrong before there was a connection; a time-out is told apart.
_NOT_CONNECTED = (httpcore.ConnectError, ssl.SSLError, OSError)


class Sender:
    """One pool of kept connections for all subscribers.

    Follows no redirect, knows no proxy, verifies TLS, and gives each attempt `timeout_seconds`, from resolving the name
    to the end of the answer. Of that it reads 64 KiB at most and keeps 1 KiB.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        timeout_seconds: float,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpx.create_ssl_context(),
            max_connections=None,  # how many are under way is bounded by who sends
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=CheckedNetwork(policy, resolve),
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST `body`. Never raises for what a subscriber or the network does."""
        started = time.perf_counter()

        def ended(error: str, *, refused: bool = False, unreachable: bool = False, timed_out: bool = False) -> Answer:
            return Answer(
                duration_seconds=time.perf_counter() - started,
                error=error,
                refused=refused,
                unreachable=unreachable,
                timed_out=timed_out,
            )

        try:
            self._policy.check_url(url)
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(url, headers, body, started)
        except (AddressRefused, ConnectionRefusedByPolicy) as refusal:
            return ended(str(refusal), refused=True)
        except (TimeoutError, httpcore.TimeoutException):
            return ended(f"no whole answer within {self._timeout_seconds:g} seconds", timed_out=True)
        except _NOT_CONNECTED as error:
            return ended(f"not reachable: {_reason(error)}", unreachable=True)
        except Exception as error:  # noqa: BLE001 - what comes from outside may break in any way
            return ended(f"no answer in HTTP: {describe(error)}")

    async def close(self) -> None:
        """Close the kept connections."""
        await self._pool.aclose()

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes, started: float) -> Answer:
        async with self._pool.stream("POST", url, headers=list(headers.items()), content=body) as response:
            seen = await _read(response)
            return Answer(
                duration_seconds=time.perf_counter() - started,
                status_code=response.status,
                retry_after_seconds=retry_after_seconds(response.headers, self._clock()),
                response=printable(seen),
            )


async def _read(response: httpcore.Response) -> bytes:
    """The beginning of the body. Up to 64 KiB are read, since a connection is kept only if nothing is left on it."""
    seen, read_bytes = b"", 0
    async for chunk in response.aiter_stream():
        seen += chunk[: SHOWN_BYTES - len(seen)]
        read_bytes += len(chunk)
        if read_bytes > READ_BYTES:
            break
    return seen


def _reason(error: BaseException) -> str:
    """The innermost cause, which says what the wrappers around it do not."""
    while error.__cause__ is not None:
        error = error.__cause__
    return describe(error)
