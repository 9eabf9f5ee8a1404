"""Keeps connections for the next request to the same origin.

httpcore's own pool compares every pair of its connections before each request, which takes longer than the rest of a
delivery when there are 64 of them. Here a request costs the same for any number of connections.
"""

import ssl
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpcore

_Key = tuple[bytes, bytes, int]


class ConnectionPool:
    """One connection per request under way; up to `max_idle` are kept idle, for `keep_alive_seconds`.

    A connection is used for at most `max_age_seconds`, so that a name is resolved, and its addresses checked, again.
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
        self._idle: defaultdict[_Key, deque[_Connection]] = defaultdict(deque)
        self._oldest: dict[_Connection, _Key] = {}  # the idle ones, longest idle first

    def __len__(self) -> int:
        """How many connections are idle."""
        return len(self._oldest)

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
        """Close the idle connections."""
        while self._oldest:
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
        while connection := self._pop_newest(key):
            if not self._is_old(connection):
                return connection
            await connection.aclose()
        return None

    def _pop_newest(self, key: _Key) -> "_Connection | None":
        if key not in self._idle:
            return None
        connection = self._idle[key][-1]
        self._forget(connection)
        return connection

    def _forget(self, connection: "_Connection") -> None:
        key = self._oldest.pop(connection)
        self._idle[key].remove(connection)
        if not self._idle[key]:
            del self._idle[key]

    async def _put_back(self, key: _Key, connection: "_Connection") -> None:
        if connection.is_closed() or not connection.is_idle() or self._clock() >= connection.good_until:
            await connection.aclose()
            return
        self._idle[key].append(connection)
        self._oldest[connection] = key
        while self._oldest and (len(self._oldest) > self._max_idle or self._is_old(next(iter(self._oldest)))):
            await self._close_oldest()

    async def _close_oldest(self) -> None:
        connection = next(iter(self._oldest))
        self._forget(connection)
        await connection.aclose()


class _Connection(httpcore.AsyncHTTPConnection):
    """It gets no further request after `good_until`, on the pool's clock."""

    good_until: float
