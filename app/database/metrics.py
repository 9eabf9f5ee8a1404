"""The instruments of the database, and the count of its connections."""

from functools import partial

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from app.config import Settings
from app.metrics import instruments

_TAKEN = "sync-service: taken"


class DatabaseMetrics:
    """The connection pool, SQLite's write-ahead log, and the oldest snapshot on PostgreSQL."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        _, _, live_gauge = instruments(registry)
        most_of_workers = partial(Gauge, registry=registry, multiprocess_mode="livemax")
        connections = live_gauge("sync_database_connections", "Connections of the pool, by state.", ("state",))
        self.idle = connections.labels("idle")
        self.in_use = connections.labels("in_use")
        self.limit = live_gauge(
            "sync_database_connections_limit", "Connections that the pool may open: its size and its overflow."
        )
        self.wal_bytes = most_of_workers("sync_sqlite_wal_bytes", "Size of SQLite's write-ahead log; 0 on PostgreSQL.")
        self.oldest_snapshot = most_of_workers(
            "sync_database_oldest_snapshot_age_seconds",
            "Age of the oldest transaction that keeps PostgreSQL from removing dead rows; 0 on SQLite.",
        )


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
