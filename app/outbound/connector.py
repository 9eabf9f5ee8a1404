"""Connects to checked addresses alone: what a name resolves to is checked, and one of just those is connected to."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION

from app.outbound.address import AddressPolicy

MAX_ANSWER_BYTES = 65_536
CONNECT_SECONDS = 5.0  # to one of several addresses, before the next one is tried
MAX_LOOKUPS = 32
LOOKUP_SECONDS = 1.0  # a lookup that takes longer is no longer one of those

Resolve = Callable[[str], Awaitable[Sequence[str]]]


class NameUnknown(httpcore.ConnectError):
    """The host name has no address."""


class ResponseTooLarge(httpcore.ReadError):
    """More came back than anybody wants to read."""


class Connector(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore.

    `resolve` gives the IP addresses of a name. All of them are checked, as an attacker's name server may mix
    public ones with private ones; and as they are not looked up again, it can not change its mind (DNS rebinding).
    """

    def __init__(self, policy: AddressPolicy, resolve: Resolve | None = None) -> None:
        self._policy = policy
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
            httpcore.ConnectError, httpcore.ConnectTimeout: none of them answers.
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
                return BoundedStream(stream)
        raise failure

    def close(self) -> None:
        """Start no further lookup."""
        self._lookups.close()


class Lookups:
    """Asks the system for addresses, in threads of its own.

    A name server that never answers blocks a thread for as long as the system waits. Each name has one lookup under
    way at most, whatever the port, which all who want it share: so a bad name takes one thread and not all of them.
    And a second later the next lookup may begin in its place: so many bad names hold up a good one for moments alone.
    The threads are daemons, which the end of the process does not wait for; an executor's would be joined then.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_LOOKUPS)
        self._under_way: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses of `host`, in the order of preference (RFC 6724).

        Raises:
            NameUnknown: there is none.
        """
        lookup = self._under_way.get(host)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(host), name="webhook-dns", context=Context())
            self._under_way[host] = lookup
            lookup.add_done_callback(lambda done: self._forget(host, done))
        try:
            return await asyncio.shield(lookup)
        except OSError as error:
            raise NameUnknown("the host name has no address") from error

    def close(self) -> None:
        """Wait for no lookup any more; the threads of those under way end when the system gives up."""
        for lookup in self._under_way.values():
            lookup.cancel()

    async def _look_up(self, host: str) -> Sequence[str]:
        answer: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        try:
            async with self._free:
                threading.Thread(target=partial(_answer, answer, host), name="webhook-dns", daemon=True).start()
                await asyncio.wait([answer], timeout=LOOKUP_SECONDS)
            return await answer
        finally:
            answer.cancel()  # for the thread, when nobody waits for it any more

    def _forget(self, host: str, done: asyncio.Task[Sequence[str]]) -> None:
        self._under_way.pop(host, None)
        if not done.cancelled():
            done.exception()  # all who waited may have gone


def _answer(answer: asyncio.Future[Sequence[str]], host: str) -> None:
    """Look up in a thread, and tell the loop."""
    try:
        tell = partial(_settle, answer, _look_up(host), None)
    except Exception as error:  # noqa: BLE001 - whoever waits for the answer is to have it
        tell = partial(_settle, answer, (), error)
    with suppress(RuntimeError):  # the loop has ended meanwhile
        answer.get_loop().call_soon_threadsafe(tell)


def _settle(answer: asyncio.Future[Sequence[str]], found: Sequence[str], error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(found)
    else:
        answer.set_exception(error)


def _look_up(host: str) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is too long
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that gives at most 64 KiB in answer to each request, headers and interim answers (1xx) included."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = MAX_ANSWER_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """See httpcore.

        Raises:
            ResponseTooLarge: after so much.
        """
        if self._left <= 0:
            raise ResponseTooLarge("the answer is too large")
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """See httpcore; the next answer counts anew."""
        self._left = MAX_ANSWER_BYTES
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
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """See httpcore."""
        return self._stream.get_extra_info(info)
