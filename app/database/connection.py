"""A connection to PostgreSQL whose commits are never cancelled, and that notes when somebody else cancelled one."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.errors import DatabaseUnavailable

# A connection whose peer has vanished is noticed after 20 seconds, also while it waits for a standby.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}


class CommitUncertain(DatabaseUnavailable):
    """503: the transaction is committed on the primary, and may be missing on its standbys."""


class ClosableConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """While `closes` is set, it is closed where asyncpg sends a cancel: at a time-out or when a task is cancelled.

    A cancel that meets a commit in its wait for a synchronous standby ends the wait and leaves the commit on the
    primary alone, visible to everybody, and PostgreSQL reports success with no more than a warning.
    """

    closes = False
    warnings = 0

    def watch(self) -> None:
        """Count warnings from now on, and have the kernel look for a peer that has vanished."""
        self.add_log_listener(_count_warning)
        peer = self._transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE.items():
                if hasattr(socket, name):
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def _cancel_current_command(self, waiter: Any, cancel_waiter: Any = None) -> None:
        if self.closes:
            self._loop.call_soon(self.terminate)  # asyncpg still has to tell its caller about the time-out
        else:
            super()._cancel_current_command(waiter, cancel_waiter)


def _count_warning(connection: ClosableConnection, message: asyncpg.PostgresLogMessage) -> None:
    if message.severity_en == "WARNING":
        connection.warnings += 1


@asynccontextmanager
async def never_cancelled(connection: AsyncConnection) -> AsyncIterator[None]:
    """Run the block with its commit, and close the connection rather than send a cancel. SQLite is left alone.

    Raises:
        CommitUncertain: when PostgreSQL warned, as it does when somebody has ended the wait for a standby.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, ClosableConnection):
        yield
        return
    driver.closes, driver.warnings = True, 0
    try:
        yield
    finally:
        driver.closes = False
        if driver.is_closed():
            await connection.invalidate()
    if driver.warnings:
        raise CommitUncertain
