"""Keeps the WAL of SQLite small, and reports when a reader does not let it."""

import asyncio

import structlog

from app.database.engine import WAL_LIMIT_BYTES, Database
from app.database.pool_metrics import DatabaseMetrics

INTERVAL_SECONDS = 10
WARN_BYTES = 4 * WAL_LIMIT_BYTES

log = structlog.get_logger(__name__)


class WalTruncation:
    """Empties a WAL of more than 16 MiB.

    SQLite writes the WAL into the file by itself every 4 MiB, but not beyond the snapshot of the oldest reader, and
    begins at its front only while nobody reads it: after one long transaction of another process it would stay large.
    """

    def __init__(self, database: Database, metrics: DatabaseMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._is_held = False

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Measure the WAL, and empty it if it is large and nobody reads it.

        Raises:
            DatabaseUnavailable: when the database cannot serve now.
        """
        if self._measure() <= WAL_LIMIT_BYTES:
            self._is_held = False
            return
        emptied = await self._database.truncate_wal()
        size = self._measure()
        is_held = not emptied and size > WARN_BYTES
        if is_held and not self._is_held:
            log.warning("the WAL cannot be emptied while another process reads an old snapshot", wal_bytes=size)
        self._is_held = is_held

    def _measure(self) -> int:
        try:
            size = self._database.wal_path.stat().st_size
        except FileNotFoundError:
            size = 0
        self._metrics.wal_bytes.set(size)
        return size
