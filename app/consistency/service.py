"""The consistency checks of one process: what their routes call, and how the parts are built."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

from app.config import Settings
from app.consistency.background import ConsistencyTasks
from app.consistency.check_runner import CheckProgress, CheckRunner, FullCheck
from app.consistency.file_check_repository import Clock
from app.consistency.file_checker import FileChecker
from app.consistency.file_service import FileConsistencyService
from app.consistency.metrics import ConsistencyMetrics
from app.consistency.repairs.service import RepairService
from app.consistency.sources.cloud import CloudClient
from app.consistency.sources.contract import ContractClient
from app.consistency.sources.full_check import CloudCheck, InventoryCheck
from app.consistency.sources.request import MAX_HEADER_BYTES, MAX_PAGE_BYTES
from app.consistency.sources.schemas import SourceKind
from app.consistency.sources.service import SourceService
from app.database.engine import Database
from app.database.sql import read_now
from app.events.ledger import Ledger
from app.outbound.address import AddressPolicy
from app.outbound.client import OutboundClient
from app.outbound.secret import create_cipher


class Consistency(NamedTuple):
    """The parts of the consistency checks in one process."""

    repairs: RepairService
    sources: SourceService
    files: FileConsistencyService
    tasks: ConsistencyTasks


@asynccontextmanager
async def open_consistency(
    settings: Settings,
    database: Database,
    ledger: Ledger,
    clock: Clock = read_now,
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
    seconds = settings.consistency_timeout
    outbound = OutboundClient(policy, seconds, ssl_context=trust, max_response_bytes=MAX_PAGE_BYTES + MAX_HEADER_BYTES)
    contract, cloud = ContractClient(outbound, cipher), CloudClient(settings, trust)
    checker = FileChecker(
        database,
        {SourceKind.CONTRACT: contract, SourceKind.CLOUD: cloud},
        concurrency=settings.consistency_concurrency,
        clock=clock,
    )
    lease, metrics = timedelta(seconds=settings.webhook_lease), metrics or ConsistencyMetrics()
    progress = CheckProgress(database, clock, lease, metrics, files_per_second=settings.consistency_files_per_second)
    full_checks: dict[str, FullCheck] = {
        SourceKind.CONTRACT: InventoryCheck(database, contract, clock, progress).run,
        SourceKind.CLOUD: CloudCheck(database, cloud, checker, progress).run,
    }
    runner = CheckRunner(database, checker, progress, full_checks)
    tasks = ConsistencyTasks(
        database,
        runner,
        checker,
        full_interval_seconds=settings.consistency_full_interval,
        cloud_url=settings.metadata_service_url,
    )
    repairs = RepairService(
        database,
        ledger,
        checker,
        files_at_once=settings.consistency_concurrency,
        on_redelivered=on_redelivered,
    )
    try:
        yield Consistency(
            repairs,
            SourceService(database, cipher, contract, cloud, policy=policy, clock=clock),
            FileConsistencyService(database, checker, cloud_sees_all=settings.consistency_token_sees_all),
            tasks,
        )
    finally:
        await asyncio.gather(repairs.close(), checker.close())
        await cloud.close()
        await outbound.close()
