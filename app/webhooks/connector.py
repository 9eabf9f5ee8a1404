"""Opens connections to subscribers, to addresses that were checked and to no others."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

import httpcore

from app.webhooks.address import AddressPolicy, AddressRefused

Resolve = Callable[[str, int], Awaitable[list[str]]]


class ConnectionRefusedByPolicy(httpcore.ConnectError):
    """The name leads to an address that is not allowed."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, by the system's resolver.

    Raises:
        OSError: when there are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """httpcore's network with a check between resolving and connecting.

    Each name is resolved once for a connection. One address that is not allowed refuses all that it has, and the
    connection goes to one that was checked, so a name that leads elsewhere a moment later changes nothing.
    """

    def __init__(self, policy: AddressPolicy, resolve: Resolve = resolve) -> None:
        self._policy = policy
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            ConnectionRefusedByPolicy: one of the addresses is not allowed.
            httpcore.ConnectError: there are none, or none answers.
        """
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in await self._checked_addresses(host, port):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Never: no subscriber is a file."""
        raise ConnectionRefusedByPolicy("a socket of the file system")

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await self._network.sleep(seconds)

    async def _checked_addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the host has no address") from error
        try:
            for address in addresses:
                self._policy.check_address(address)
        except AddressRefused as error:
            raise ConnectionRefusedByPolicy(str(error)) from error
        return addresses
