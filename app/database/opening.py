"""Opens the database for the service: checks it, migrates it where that is the rule, and watches it while open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.concurrency.periodic import PeriodicTask
from app.config import Settings
from app.database.durability import INTERVAL_SECONDS as DURABILITY_SECONDS
from app.database.durability import DurabilityCheck, check_durability
from app.database.engine import CLOSE_SECONDS, Database
from app.database.migrations import Schema, prepare_schema
from app.database.pool_metrics import DatabaseMetrics
from app.database.preflight import check_fitness
from app.database.single_process import sole_process
from app.database.wal import INTERVAL_SECONDS as WAL_SECONDS
from app.database.wal import WalTruncation


@asynccontextmanager
async def open_database(settings: Settings, metrics: DatabaseMetrics) -> AsyncIterator[tuple[Database, Schema]]:
    """The database, ready for use, and what is known of its schema; both closed at the end of the block.

    Raises:
        DatabaseShared, DatabaseUnfit, NotMigrated, NotDurable: the service cannot start on it.
        DatabaseUnavailable: it cannot serve now.
    """
    database = Database(settings, metrics)
    try:
        with sole_process(settings):
            await check_fitness(database)
            schema = Schema()
            await prepare_schema(database, schema)
            await check_durability(database)
            if database.is_sqlite:
                watch = PeriodicTask("wal", WalTruncation(database, metrics).run_once, WAL_SECONDS)
            else:
                check = DurabilityCheck(database)
                await check.run_once()
                watch = PeriodicTask("durability", check.run_once, DURABILITY_SECONDS)
            watch.start()
            try:
                yield database, schema
            finally:
                await watch.stop(CLOSE_SECONDS)
    finally:
        await database.close()
