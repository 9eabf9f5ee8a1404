"""Counts the connections of the pool."""

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from app.config import Settings
from app.metrics import DatabaseMetrics

_TAKEN = "sync-service: taken"


def measure_pool(engine: AsyncEngine, settings: Settings, metrics: DatabaseMetrics) -> None:
    """Count the pool's connections as they come and go."""
    metrics.limit.set(settings.database_pool_size + settings.database_max_overflow)

    pool = engine.sync_engine

    @event.listens_for(pool, "connect")
    def _connected(_connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        metrics.idle.inc()

    @event.listens_for(pool, "checkout")
    def _taken(_connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        record.info[_TAKEN] = True
        metrics.idle.dec()
        metrics.in_use.inc()

    @event.listens_for(pool, "checkin")
    def _given_back(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        # An attempt to connect that failed is given back without ever having been taken.
        if record.info.pop(_TAKEN, False):
            metrics.in_use.dec()
            metrics.idle.inc()

    @event.listens_for(pool, "close")
    def _closed(_connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        metrics.idle.dec()
