"""Several workers, as real processes: each may die while the database is away or the disk is full."""

import asyncio
import glob
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from app.operations.metrics import FILE_BYTES
from app.server import Worker
from tests.conftest import service_processes
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.waiting import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def service(
    frail_postgres: PostgresServer, issuer: KeyServer, fork_server: ForkServer, folder: Path
) -> Iterator[ServiceProcess]:
    """Two workers, for all tests of this module; the metrics are served by every worker for all."""
    with service_processes(frail_postgres.url("postgres"), issuer, fork_server, folder) as begin:
        quick = {"DATABASE_CONNECT_TIMEOUT": "1", "DATABASE_START_TIMEOUT": "0"}
        process = begin(WEB_CONCURRENCY="2", LOG_LEVEL="INFO", TMPDIR=str(folder), **quick)
        process.wait_until_healthy()
        yield process


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url) as client:
        yield client


async def workers_serve(service: ServiceProcess, starts: int) -> list[int]:
    """The workers, once so many have started in all."""
    await until(lambda: service.output().count("service started") == starts)
    return [child.pid for child in psutil.Process(service.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def test_the_pauses_before_a_successor_grow_up_to_a_minute() -> None:
    worker, pauses = Worker(), []
    for _ in range(8):
        worker.plan_restart(failed=True, now=0)
        pauses.append(worker.restart_at)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    worker.plan_restart(failed=False, now=5)
    assert worker.restart_at == 5, "one that was killed has its successor at once"


async def test_the_files_of_the_metrics_have_their_space(
    service: ServiceProcess, client: httpx.AsyncClient, folder: Path
) -> None:
    assert len(await workers_serve(service, 2)) == 2
    await client.get("/metrics")
    files = [os.stat(path) for path in glob.glob(f"{folder}/sync-metrics-*/*.db")]  # noqa: PTH116, PTH207
    assert sorted(file.st_size for file in files) == sorted([*FILE_BYTES.values()] * 2), "none was forgotten, none grew"
    assert all(file.st_blocks * 512 >= file.st_size for file in files), "a write to a hole could end the process"


async def test_a_worker_that_cannot_start_does_not_end_the_others(
    service: ServiceProcess, client: httpx.AsyncClient, frail_postgres: PostgresServer
) -> None:
    survivor, victim = await workers_serve(service, 2)
    frail_postgres.stop()
    try:
        os.kill(victim, signal.SIGKILL)
        await until(lambda: "restart_in_seconds=1" in service.output())
        assert (await client.get("/health/live")).status_code == 200
        assert psutil.Process(survivor).is_running()
    finally:
        frail_postgres.start()
    assert survivor in await workers_serve(service, 3)


async def test_a_full_disk_costs_a_worker_only_the_sum(
    service: ServiceProcess, client: httpx.AsyncClient, folder: Path
) -> None:
    first, _ = await workers_serve(service, 3)
    service.limit_file_size(262_144)
    os.kill(first, signal.SIGKILL)
    await workers_serve(service, 4)
    assert "no space for the files of the metrics" in service.output()
    for _ in range(20):
        assert "sync_http_requests_in_progress" in (await client.get("/metrics")).text
    [directory] = glob.glob(f"{folder}/sync-metrics-*")  # noqa: PTH207
    shutil.rmtree(directory)
    assert (await client.get("/metrics")).status_code == 200, "what cleans up temporary files took it"
    assert await asyncio.to_thread(service.end) == 0
