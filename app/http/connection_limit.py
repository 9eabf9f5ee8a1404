"""Keeps the number of open connections below what the limit of open files allows."""

import asyncio
import resource
from collections.abc import Callable, Collection
from heapq import nsmallest
from typing import Protocol

from app.config import Settings
from app.log.sparing import SparingLog

OTHER_FILES = 64  # listening sockets, files of the database, of the log and of the metrics


class Connection(Protocol):
    """A connection that can be closed while it is idle."""

    transport: asyncio.Transport

    @property
    def idle_since(self) -> float | None:
        """When it was last of use, by the clock of the loop; None while it is."""


class ConnectionLimit:
    """Closes the idlest connections before the process has used up its open files.

    Without free files the kernel's queue fills with connections that are never accepted, honest ones among them.
    """

    def __init__(self, maximum: int, on_close: Callable[[], object]) -> None:
        self._maximum = maximum
        self._on_close = on_close
        self._log = SparingLog(__name__)

    @classmethod
    def of(cls, settings: Settings, on_close: Callable[[], object]) -> "ConnectionLimit":
        """The limit that leaves files for the database, the webhooks and everything else."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        others = settings.database_pool_size + settings.database_max_overflow + settings.webhook_concurrency
        return cls(max(files - others - OTHER_FILES, files // 2), on_close)

    def make_room(self, connections: Collection[Connection]) -> None:
        """Close the idlest of `connections` when they are too many, several together, and log that once a minute."""
        excess = len(connections) - self._maximum
        if excess < 0:
            return
        idle = [(since, id(one), one) for one in connections if (since := one.idle_since) is not None]
        for _, _, one in nsmallest(excess + 1 + self._maximum // 50, idle):
            one.transport.close()
            self._on_close()
        self._log.warning(
            "too many connections for the limit of open files: the idlest are closed", limit=self._maximum
        )
