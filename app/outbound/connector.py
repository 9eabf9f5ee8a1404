"""Opens connections, to checked addresses alone: every address of a name is checked, and one of those is used."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION

from app.concurrency.single_flight import SingleFlight
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
    public with private ones. They are not looked up again, so it cannot change its response (DNS rebinding).
    """

    def __init__(
        self, policy: AddressPolicy, resolve: Resolve | None = None, max_response_bytes: int = MAX_RESPONSE_BYTES
    ) -> None:
        self._policy = policy
        self._max_response_bytes = max_response_bytes
        self._lookups = Lookups()
        self._resolve = resolve or self._lookups.resolve
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
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
        """Cancel every lookup."""
        self._lookups.close()


class Lookups:
    """Resolves names in threads of its own, one lookup per name at a time.

    A name server that never responds blocks a thread for as long as the system waits. Since callers share the lookup of
    a name, a bad name takes one thread. After a second the next lookup may begin in its place, so many bad names delay
    a good one only for moments. The threads are daemons: the end of the process does not wait for them.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_LOOKUPS)
        self._flights: SingleFlight[str, Sequence[str]] = SingleFlight("webhook-dns")

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses of `host`, in the order of preference (RFC 6724).

        Raises:
            NameUnknown: there is none.
        """
        try:
            return await self._flights.run(host, partial(self._look_up, host))
        except OSError as error:
            raise NameUnknown("the host name has no address") from error

    def close(self) -> None:
        """Cancel every lookup; the threads end when the system gives up."""
        self._flights.close()

    async def _look_up(self, host: str) -> Sequence[str]:
        found: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        try:
            async with self._free:
                threading.Thread(target=_look_up_for, args=(found, host), name="webhook-dns", daemon=True).start()
                await asyncio.wait([found], timeout=LOOKUP_SECONDS)
            return await found
        finally:
            found.cancel()  # so that the thread does not set a result that nobody reads


def _look_up_for(future: asyncio.Future[Sequence[str]], host: str) -> None:
    """Look up in a thread, and settle `future` in its loop."""
    try:
        settle = partial(_settle, future, _look_up(host), None)
    except Exception as error:  # noqa: BLE001 - every error reaches the caller
        settle = partial(_settle, future, (), error)
    with suppress(RuntimeError):  # the loop has ended
        future.get_loop().call_soon_threadsafe(settle)


def _settle(future: asyncio.Future[Sequence[str]], found: Sequence[str], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(found)
    else:
        future.set_exception(error)


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
        """See httpcore.

        Raises:
            ResponseTooLarge: the limit is exceeded.
        """
        if self._left <= 0:
            raise ResponseTooLarge("the response is too large")
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """See httpcore; the limit starts again with each request."""
        self._left = self._limit
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """See httpcore."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore."""
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return BoundedStream(stream, self._limit)

    def get_extra_info(self, info: str) -> Any:
        """See httpcore."""
        return self._stream.get_extra_info(info)
