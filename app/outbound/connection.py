"""Opens connections to checked addresses alone, and keeps them for the next request to the same origin."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION

from app.concurrency.task import SingleFlight
from app.outbound.address import AddressPolicy

MAX_RESPONSE_BYTES = 65_536
CONNECT_SECONDS = 5.0  # for one of several addresses, before the next one is tried
MAX_LOOKUPS = 32
LOOKUP_SECONDS = 1.0  # a lookup that takes longer no longer counts among those
Resolve = Callable[[str], Awaitable[Sequence[str]]]


class NameUnknown(httpcore.ConnectError):
    """The host name has no address."""


class ResponseTooLarge(httpcore.ReadError):
    """The response exceeds the limit of its connection."""


class Connector(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore.

    `resolve` returns the IP addresses of a name. All of them are checked, since an attacker's name server may mix
    public with private ones. They are not looked up again, so it cannot change its response (DNS rebinding). A response
    has at most `limit` bytes.
    """

    def __init__(self, policy: AddressPolicy, resolve: Resolve | None = None, limit: int = MAX_RESPONSE_BYTES) -> None:
        self._policy = policy
        self._max_response_bytes = limit
        self._lookups = Lookups()
        self._resolve = resolve or self._lookups.resolve
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the host's addresses.

        Raises:
            AddressRefused: one of them is not allowed.
            NameUnknown: there is none.
            httpcore.ConnectError, httpcore.ConnectTimeout: none of them accepts a connection.
        """
        addresses = await self._resolve(host)
        for address in addresses:
            self._policy.check_address(address)
        failure: Exception = NameUnknown("the host name has no address")
        seconds = timeout if len(addresses) == 1 else min(timeout or CONNECT_SECONDS, CONNECT_SECONDS)
        for address in addresses:
            try:
                stream = await self._backend.connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return BoundedStream(stream, self._max_response_bytes)
        raise failure

    def close(self) -> None:
        self._lookups.close()


class Lookups:
    """Resolves names in threads of its own, one lookup per name at a time.

    A name server that never responds blocks a thread for as long as the system waits: callers share the lookup of a
    name, and after a second the next lookup may begin in its place. The end of the process does not wait for threads.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_LOOKUPS)
        self._flights: SingleFlight[str, Sequence[str]] = SingleFlight("webhook-dns")

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses of `host`, in the order of preference (RFC 6724); raises `NameUnknown` when there is none."""
        try:
            return await self._flights.run(host, partial(self._look_up, host))
        except OSError as error:
            raise NameUnknown("the host name has no address") from error

    def close(self) -> None:
        """Cancel every lookup; the threads end when the system gives up."""
        self._flights.close()

    async def _look_up(self, host: str) -> Sequence[str]:
        found: Future[Sequence[str]] = Future()
        waiting = asyncio.wrap_future(found)
        try:
            async with self._free:
                threading.Thread(target=_look_up_for, args=(found, host), name="webhook-dns", daemon=True).start()
                await asyncio.wait([waiting], timeout=LOOKUP_SECONDS)
            return await waiting
        finally:
            waiting.cancel()  # so that the thread does not set a result without a reader


def _look_up_for(found: Future[Sequence[str]], host: str) -> None:
    """Look up in a thread, and settle `found`."""
    if not found.set_running_or_notify_cancel():
        return
    try:
        found.set_result(_look_up(host))
    except Exception as error:  # noqa: BLE001 - every error reaches the caller
        found.set_exception(error)


def _look_up(host: str) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is too long
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that reads at most `limit` bytes per response, headers and interim responses (1xx) included."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, limit: int) -> None:
        self._stream = stream
        self._limit = self._left = limit

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """See httpcore; raises `ResponseTooLarge` beyond the limit."""
        if self._left <= 0:
            raise ResponseTooLarge("the response is too large")
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """See httpcore; the limit starts again."""
        self._left = self._limit
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return BoundedStream(stream, self._limit)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


_Key = tuple[bytes, bytes, int]


class ConnectionPool:
    """One connection per request under way; up to `max_idle` are kept idle, for `keep_alive_seconds`.

    A request looks through the idle connections alone; httpcore's own pool compares every pair of all its connections
    first. A connection is used for at most `max_age_seconds`, so that a name is resolved, and its addresses
    checked, again.
    """

    def __init__(
        self,
        network: httpcore.AsyncNetworkBackend,
        ssl_context: ssl.SSLContext,
        *,
        keep_alive_seconds: float,
        max_idle: int,
        max_age_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._ssl_context = ssl_context
        self._keep_alive_seconds = keep_alive_seconds
        self._max_idle = max_idle
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._idle: dict[_Connection, _Key] = {}  # longest idle first

    def __len__(self) -> int:
        """How many connections are idle."""
        return len(self._idle)

    @asynccontextmanager
    async def stream(
        self, request: httpcore.Request, *, new_connection: bool = False
    ) -> AsyncIterator[httpcore.Response]:
        """The response to `request`, over a kept connection unless `new_connection`.

        The connection is kept if the whole response was read by the end.

        Raises:
            httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException: as httpcore's connections do.
        """
        origin = request.url.origin
        key = (origin.scheme, origin.host, origin.port)
        connection = (None if new_connection else await self._take(key)) or self._create(origin)
        try:
            response = await connection.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            await self._put_back(key, connection)

    async def aclose(self) -> None:
        while self._idle:
            await self._close_oldest()

    def _create(self, origin: httpcore.Origin) -> "_Connection":
        connection = _Connection(
            origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=self._keep_alive_seconds,
            network_backend=self._network,
        )
        connection.good_until = self._clock() + self._max_age_seconds
        return connection

    def _is_old(self, connection: "_Connection") -> bool:
        return connection.has_expired() or self._clock() >= connection.good_until

    async def _take(self, key: _Key) -> "_Connection | None":
        """The idle connection that was used last: the receiver is least likely to have closed it."""
        while connection := next((one for one in reversed(self._idle) if self._idle[one] == key), None):
            del self._idle[connection]
            if not self._is_old(connection):
                return connection
            await connection.aclose()
        return None

    async def _put_back(self, key: _Key, connection: "_Connection") -> None:
        if connection.is_closed() or not connection.is_idle() or self._clock() >= connection.good_until:
            await connection.aclose()
            return
        self._idle[connection] = key
        while self._idle and (len(self._idle) > self._max_idle or self._is_old(next(iter(self._idle)))):
            await self._close_oldest()

    async def _close_oldest(self) -> None:
        connection = next(iter(self._idle))
        del self._idle[connection]
        await connection.aclose()


class _Connection(httpcore.AsyncHTTPConnection):
    """It gets no further request after `good_until`, on the pool's clock."""

    good_until: float
