"""Several workers, as real processes: what they share, and that each may die while the database or the disk is away."""

import asyncio
import glob
import json
import os
import re
import resource
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from app.database.engine import Database
from app.operations.metrics import FILE_BYTES
from app.server import Worker
from tests.events.support import read_ledger
from tests.support.load import Load, run_load
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected, until

EVENT = {"file_id": str(uuid4()), "event_type": "upload"}


def test_the_pauses_before_a_successor_grow_up_to_a_minute() -> None:
    worker, pauses = Worker(), []
    for _ in range(8):
        worker.plan_restart(failed=True, now=0)
        pauses.append(worker.restart_at)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    worker.plan_restart(failed=False, now=5)
    assert worker.restart_at == 5, "one that was killed has its successor at once"


@pytest.fixture
def database_url(frail_postgres: PostgresServer) -> Iterator[str]:
    """A database that nobody has migrated."""
    frail_postgres.sql("CREATE DATABASE workers")
    yield frail_postgres.url("workers")
    frail_postgres.sql("DROP DATABASE workers WITH (FORCE)")


@pytest.fixture
def service(begin_service: Callable[..., ServiceProcess], tmp_path: Path) -> ServiceProcess:
    """Two workers; the metrics are served by every worker for all."""
    quick = {"DATABASE_CONNECT_TIMEOUT": "1", "DATABASE_START_TIMEOUT": "0"}
    log = {"LOG_LEVEL": "INFO", "LOG_FORMAT": "json"}
    return begin_service(WEB_CONCURRENCY="2", TMPDIR=str(tmp_path), **quick, **log)


@pytest.fixture
async def client(service: ServiceProcess, tokens: TokenFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Each request has a connection of its own, so that both workers get some."""
    headers = {"Authorization": f"Bearer {tokens.token()}", "Connection": "close"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=30) as client:
        yield client


@pytest.mark.timeout(600)  # four workers in turn, each of which imports the service by itself
async def test_the_life_of_two_workers(
    service: ServiceProcess,
    client: httpx.AsyncClient,
    frail_postgres: PostgresServer,
    database: Database,
    tmp_path: Path,
) -> None:
    first, second = await workers_serve(service, 2)
    assert service.output().count("Running upgrade  -> 0001") == 1, "their parent has migrated for both"
    await they_are_one_in_the_metrics(client)
    the_files_of_the_metrics_have_their_space(tmp_path)
    await one_that_cannot_start_does_not_end_the_other(service, client, frail_postgres, first, second)
    await a_full_disk_costs_only_the_sum(service, client, tmp_path, second)
    await they_end_in_order_under_load(service, client, database)
    every_line_has_our_shape(service)


async def workers_serve(service: ServiceProcess, starts: int) -> list[int]:
    """The workers, once so many have started in all."""
    await until(lambda: service.output().count('"service started"') == starts, 120)
    return [child.pid for child in psutil.Process(service.pid).children() if "spawn_main" in " ".join(child.cmdline())]


async def gauge(client: httpx.AsyncClient, name: str) -> float | None:
    """The value of a metric."""
    page = (await get_once_connected(client, "/metrics")).text
    found = re.search(rf"^sync_{re.escape(name)} (.*)$", page, re.MULTILINE)
    return float(found[1]) if found else None


async def both_count(client: httpx.AsyncClient) -> bool:
    """Whether the gauge that each worker adds 20 to has those of two, and not of a dead one too."""
    return await gauge(client, "database_connections_limit") == 40


async def they_are_one_in_the_metrics(client: httpx.AsyncClient) -> None:
    await until(lambda: both_count(client))
    for _ in range(20):
        assert (await client.post("/sync-events", json=EVENT)).status_code == 201
    for _ in range(5):
        assert await gauge(client, 'ledger_events_appended_total{event_type="upload"}') == 20
        assert await gauge(client, "ledger_position") == 20
        assert await gauge(client, "http_requests_in_progress") == 1
        assert await both_count(client)


def the_files_of_the_metrics_have_their_space(folder: Path) -> None:
    files = [os.stat(path) for path in glob.glob(f"{folder}/sync-metrics-*/*.db")]  # noqa: PTH116, PTH207
    assert sorted(file.st_size for file in files) == sorted([*FILE_BYTES.values()] * 2), "none was forgotten, none grew"
    assert all(file.st_blocks * 512 >= file.st_size for file in files), "a write to a hole could end the process"


async def one_that_cannot_start_does_not_end_the_other(
    service: ServiceProcess, client: httpx.AsyncClient, frail_postgres: PostgresServer, victim: int, survivor: int
) -> None:
    frail_postgres.stop()
    try:
        os.kill(victim, signal.SIGKILL)
        await until(lambda: '"restart_in_seconds": 1' in service.output())
        assert (await client.get("/health/live")).status_code == 200
        assert psutil.Process(survivor).is_running()
    finally:
        frail_postgres.start()
    workers = await workers_serve(service, 3)
    assert survivor in workers
    assert victim not in workers
    await until(lambda: both_count(client))


async def a_full_disk_costs_only_the_sum(
    service: ServiceProcess, client: httpx.AsyncClient, folder: Path, victim: int
) -> None:
    service.limit_file_size(262_144)
    os.kill(victim, signal.SIGKILL)
    workers = await workers_serve(service, 4)
    assert "no space for the files of the metrics" in service.output()
    for _ in range(20):
        assert "sync_http_requests_in_progress" in (await client.get("/metrics")).text
    [directory] = glob.glob(f"{folder}/sync-metrics-*")  # noqa: PTH207
    shutil.rmtree(directory)
    assert (await client.get("/metrics")).status_code == 200, "what cleans up temporary files took it"
    for process in (service.pid, *workers):  # or the lines of the log would end too
        resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def they_end_in_order_under_load(service: ServiceProcess, client: httpx.AsyncClient, database: Database) -> None:
    before, load, stop = len(await read_ledger(database)), Load(), asyncio.Event()
    token = client.headers["Authorization"].removeprefix("Bearer ")
    task = asyncio.create_task(run_load(load, service.url, token, clients=16, until=stop))
    await until(lambda: len(load.answered) >= 100)
    assert await asyncio.to_thread(service.end) == 0
    stop.set()
    await task
    recorded = {event.id for event in (await read_ledger(database))[before:]}
    assert set(load.answered) == recorded, "an event was written whose request was not answered"
    assert not load.refused


def every_line_has_our_shape(service: ServiceProcess) -> None:
    events = [json.loads(line)["event"] for line in service.output().splitlines()]
    assert sum(event.startswith("Started server process") for event in events) >= 4
    assert sum(event.startswith("Started parent process") for event in events) == 1
    assert events.count("Application shutdown complete.") == 2
