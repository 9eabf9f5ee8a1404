"""The clients: `SyncClient` for asyncio, `BlockingSyncClient` without it. Both have the same methods."""

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import TypeAdapter

from sync_client.changes import Changes
from sync_client.connection import Connection, Hooks, OnExchange, OnRetry
from sync_client.consistency import Consistency
from sync_client.deliveries import Deliveries
from sync_client.errors import InvalidCall
from sync_client.events import Events
from sync_client.face import AsyncFace, BlockingFace, Face, Face_co, operation
from sync_client.files import Files
from sync_client.models import Health, Overview, Throughput, ThroughputBucket
from sync_client.resource import Resource
from sync_client.retry import RetryPolicy
from sync_client.subscriptions import Subscriptions
from sync_client.token import Token, TokenSource
from sync_client.version import __version__

TIMEOUT = httpx.Timeout(15.0, connect=5.0)

_HEALTH = TypeAdapter(Health)
_OVERVIEW = TypeAdapter(Overview)
_THROUGHPUT = TypeAdapter(Throughput)


class _Client(Resource[Face_co]):
    """The operations, in groups; the most used ones are methods of the client itself."""

    def __init__(self, connection: Connection, face: Face_co) -> None:
        super().__init__(connection, face)
        self.events = Events(connection, face)
        self.files = Files(connection, face)
        self.changes = Changes(connection, face)
        self.subscriptions = Subscriptions(connection, face)
        self.deliveries = Deliveries(connection, face)
        self.consistency = Consistency(connection, face)

    create = Events.create
    create_many = Events.create_many
    get = Events.get
    list = Events.list
    follow = Changes.follow

    @operation
    async def health(self) -> Health:
        """The service's health, also when it is `unhealthy`. Needs no token, and is not retried."""
        return await self._connection.ask_once("health", _HEALTH, lambda status: status in {200, 503})

    @operation
    async def overview(self) -> Overview:
        """The state of the ledger, its sweep, the subscriptions and the findings, over all replicas."""
        return (await self._connection.get("overview", _OVERVIEW))[0]

    @operation
    async def throughput(self, start: datetime, end: datetime, *, buckets: int = 60) -> Sequence[ThroughputBucket]:
        """Number of events recorded in each of 1 to 120 equal parts of a period, which may end in the future."""
        given: dict[str, str | int] = {"from": start.isoformat(), "to": end.isoformat(), "buckets": buckets}
        return (await self._connection.get("throughput", _THROUGHPUT, httpx.QueryParams(given)))[0].buckets


class SyncClient(_Client[AsyncFace]):
    """One service, for asyncio, as an async context manager; any number of tasks may share it and its connections.

    `token` is a bearer token, or a callable, plain or async, that returns one. It is called for the first request, and
    again each time that the service refuses the last token. Failures that may pass are retried according to `policy`;
    `max_retries` sets only their number. `on_retry(error, seconds)` is called before each further attempt,
    `on_exchange(exchange)` after every attempt, for logs. `transport` and `limits` are httpx's.

    Every method raises, besides the errors that its docstring names:
        InvalidCall: the call itself is wrong; nothing was sent.
        Unavailable: the service was out of reach or busy for too long.
        Refused: the service refuses the request; `Unauthorized`, `NotFound`, `Invalid` and others are subclasses of it.
        UnexpectedAnswer: another service responds at this address.
    """

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        timeout: httpx.Timeout | float = TIMEOUT,
        policy: RetryPolicy | None = None,
        max_retries: int | None = None,
        on_retry: OnRetry | None = None,
        on_exchange: OnExchange | None = None,
        limits: httpx.Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx.AsyncClient(transport=transport, **_http_options(base_url, timeout, limits))
        face = AsyncFace(http)
        super().__init__(_connect(face, token, _policy(policy, max_retries), on_retry, on_exchange), face)

    async def __aenter__(self) -> Self:
        await self.face.http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.face.http.__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.face.http.aclose()


class BlockingSyncClient(_Client[BlockingFace]):
    """`SyncClient` without asyncio, as a context manager; any number of threads may share it and its connections.

    The arguments and the errors are those of `SyncClient`; callables must be plain.
    """

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        timeout: httpx.Timeout | float = TIMEOUT,
        policy: RetryPolicy | None = None,
        max_retries: int | None = None,
        on_retry: OnRetry | None = None,
        on_exchange: OnExchange | None = None,
        limits: httpx.Limits | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        face = BlockingFace(httpx.Client(transport=transport, **_http_options(base_url, timeout, limits)))
        super().__init__(_connect(face, token, _policy(policy, max_retries), on_retry, on_exchange), face)

    def __enter__(self) -> Self:
        self.face.http.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.face.http.__exit__(kind, error, traceback)

    def close(self) -> None:
        """Close the connections."""
        self.face.http.close()


def _http_options(base_url: str, timeout: httpx.Timeout | float, limits: httpx.Limits | None) -> dict[str, Any]:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise InvalidCall(f"the address of the service is not a URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidCall("the address of the service must begin with http:// or https:// and name a host")
    headers = {"User-Agent": f"sync-client/{__version__}"}
    options: dict[str, Any] = {"base_url": url, "timeout": timeout, "headers": headers}
    return options if limits is None else options | {"limits": limits}


def _policy(policy: RetryPolicy | None, max_retries: int | None) -> RetryPolicy:
    if max_retries is None:
        return policy or RetryPolicy()
    if policy is not None:
        raise InvalidCall("give `policy` or `max_retries`, and not both")
    return RetryPolicy(attempts=max_retries + 1)


def _connect(
    face: Face, token: Token, policy: RetryPolicy, on_retry: OnRetry | None, on_exchange: OnExchange | None
) -> Connection:
    given = {name: hook for name, hook in (("on_retry", on_retry), ("on_exchange", on_exchange)) if hook}
    return Connection(face, TokenSource(face, token), policy, Hooks(**given))  # type: ignore[arg-type]  # of two kinds
