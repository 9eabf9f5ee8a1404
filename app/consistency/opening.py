"""Builds what the consistency checks consist of: the services of their routes and their background tasks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

from app.config import Settings
from app.consistency.background import ConsistencyTasks
from app.consistency.check_runner import CheckRunner
from app.consistency.file_service import FileConsistencyService
from app.consistency.look import Clock, Looker, database_clock
from app.consistency.repairs.service import RepairService
from app.consistency.service import ConsistencyService
from app.consistency.sources.contract import MAX_PAGE_BYTES, ContractClient
from app.consistency.sources.service import SourceService
from app.database.engine import Database
from app.events.ledger import Ledger
from app.outbound.address import AddressPolicy
from app.outbound.client import OutboundClient
from app.outbound.secret import create_cipher

MAX_HEADER_BYTES = 65_536


class Consistency(NamedTuple):
    """The parts of the consistency checks in one process."""

    service: ConsistencyService
    repairs: RepairService
    sources: SourceService
    files: FileConsistencyService
    tasks: ConsistencyTasks


@asynccontextmanager
async def open_consistency(
    settings: Settings,
    database: Database,
    ledger: Ledger,
    clock: Clock = database_clock,
    *,
    on_redelivered: Callable[[], None] = lambda: None,
) -> AsyncIterator[Consistency]:
    """The consistency checks, whose tasks the caller starts and stops within the block.

    Raises:
        LocalSecretError: the key of local mode cannot be read or created.
    """
    policy, cipher = AddressPolicy.of(settings), create_cipher(settings)
    outbound = OutboundClient(
        policy, settings.consistency_timeout, max_response_bytes=MAX_PAGE_BYTES + MAX_HEADER_BYTES
    )
    client = ContractClient(outbound)
    looker = Looker(database, client, cipher, concurrency=settings.consistency_concurrency, clock=clock)
    runner = CheckRunner(
        database,
        client,
        looker,
        files_per_second=settings.consistency_files_per_second,
        lease=timedelta(seconds=settings.webhook_lease),
    )
    tasks = ConsistencyTasks(database, runner, looker, full_interval_seconds=settings.consistency_full_interval)
    repairs = RepairService(database, ledger, looker, on_redelivered=on_redelivered)
    try:
        yield Consistency(
            ConsistencyService(database, looker, on_added=tasks.wake),
            repairs,
            SourceService(database, cipher, policy, client, looker),
            FileConsistencyService(database, looker),
            tasks,
        )
    finally:
        repairs.close()
        looker.close()
        await outbound.close()
