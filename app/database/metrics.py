"""The instruments of the database, and the count of its connections."""

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from app.config import Settings

_TAKEN = "sync-service: taken"


class DatabaseMetrics:
    """The connection pool, SQLite's write-ahead log, and the oldest snapshot on PostgreSQL."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        connections = Gauge(
            "sync_database_connections",
            "Connections of the pool, by state.",
            ("state",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.wal_bytes = Gauge(
            "sync_sqlite_wal_bytes",
            "Size of SQLite's write-ahead log; 0 on PostgreSQL.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.oldest_snapshot = Gauge(
            "sync_database_oldest_snapshot_age_seconds",
            "Age of the oldest transaction that keeps PostgreSQL from removing dead rows; 0 on SQLite.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.idle = connections.labels("idle")
        self.in_use = connections.labels("in_use")
        self.limit = Gauge(
            "sync_database_connections_limit",
            "Connections that the pool may open: its size and its overflow.",
            registry=registry,
            multiprocess_mode="livesum",
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
