"""Builds what the consistency checks consist of: the services of their routes and their background tasks."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

from app.config import Settings
from app.consistency.background import ConsistencyTasks
from app.consistency.check_progress import CheckProgress
from app.consistency.check_runner import CheckRunner
from app.consistency.file_service import FileConsistencyService
from app.consistency.look import Clock, Looker, database_clock
from app.consistency.metrics import ConsistencyMetrics
from app.consistency.repairs.service import RepairService
from app.consistency.service import ConsistencyService
from app.consistency.sources.cloud import create_cloud_client
from app.consistency.sources.cloud_check import CloudCheck
from app.consistency.sources.contract import ContractClient
from app.consistency.sources.inventory_check import InventoryCheck
from app.consistency.sources.question import MAX_HEADER_BYTES, MAX_PAGE_BYTES
from app.consistency.sources.schemas import SourceKind
from app.consistency.sources.service import SourceService
from app.database.engine import Database
from app.events.ledger import Ledger
from app.outbound.address import AddressPolicy
from app.outbound.client import OutboundClient
from app.outbound.secret import create_cipher


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
    metrics: ConsistencyMetrics | None = None,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Consistency]:
    """The consistency checks, whose tasks the caller starts and stops within the block.

    Raises:
        LocalSecretError: the key of local mode cannot be read or created.
    """
    policy, cipher = AddressPolicy.of(settings), create_cipher(settings)
    seconds, pace = settings.consistency_timeout, settings.consistency_files_per_second
    outbound = OutboundClient(policy, seconds, ssl_context=trust, max_response_bytes=MAX_PAGE_BYTES + MAX_HEADER_BYTES)
    contract, cloud = ContractClient(outbound, cipher), create_cloud_client(settings, trust)
    looker = Looker(
        database,
        {SourceKind.CONTRACT: contract, SourceKind.CLOUD: cloud},
        concurrency=settings.consistency_concurrency,
        clock=clock,
    )
    progress = CheckProgress(
        database, clock, timedelta(seconds=settings.webhook_lease), metrics or ConsistencyMetrics()
    )
    runner = CheckRunner(
        database,
        looker,
        progress,
        InventoryCheck(database, contract, clock, progress, files_per_second=pace),
        CloudCheck(database, cloud, looker, progress, files_per_second=pace),
    )
    tasks = ConsistencyTasks(
        database,
        runner,
        looker,
        full_interval_seconds=settings.consistency_full_interval,
        cloud_url=settings.metadata_service_url,
    )
    repairs = RepairService(
        database,
        ledger,
        looker,
        files_at_once=settings.consistency_concurrency,
        on_redelivered=on_redelivered,
    )
    try:
        yield Consistency(
            ConsistencyService(database, looker, on_added=tasks.wake),
            repairs,
            SourceService(database, cipher, contract, cloud, policy=policy, clock=clock),
            FileConsistencyService(database, looker, cloud_sees_all=settings.consistency_token_sees_all),
            tasks,
        )
    finally:
        repairs.close()
        looker.close()
        await cloud.close()
        await outbound.close()
