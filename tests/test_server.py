"""`python -m app serve` and plain uvicorn as real processes: how they start, refuse to start, and end."""

import asyncio
import re
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import packages_distributions
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.support.fork_server import ForkServer
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.ports import ReservedPort
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import get_once_connected, until

Start = Callable[..., ServiceProcess]
PLAIN_UVICORN = ("uvicorn", "app.main:app", "--host", "127.0.0.1", "--port", "{port}")
STARTUP_FAILED = 1


@on_sqlite
def test_the_command_of_the_original_works(start_service: Start, tokens: TokenFactory) -> None:
    service = start_service(*PLAIN_UVICORN)
    event = {"file_id": str(uuid4()), "event_type": "upload"}
    answer = httpx.post(f"{service.url}/sync-events", json=event, headers={"Authorization": f"Bearer {tokens.token()}"})
    assert answer.status_code == 201
    assert service.end() == -signal.SIGTERM, "uvicorn's own way to end: by the signal that it got"


@on_sqlite
@pytest.mark.parametrize(
    ("host", "ending"), [("127.0.0.1", signal.SIGTERM), ("::", signal.SIGINT), ("localhost", signal.SIGTERM)]
)
def test_it_tells_where_it_listens_and_an_orderly_end_is_no_failure(
    start_service: Start, host: str, ending: signal.Signals
) -> None:
    command = ("app", "serve", "--host", host, "--port", "{port}")
    service = start_service(*command, LOG_LEVEL="INFO", LOG_FORMAT="json")
    if host != "127.0.0.1":  # of both families of addresses
        assert httpx.get(f"http://[::1]:{service.port}/health/live").status_code == 200
    service.send(ending)
    assert service.wait() == 0
    lines = service.output().splitlines()
    assert all(line.startswith('{"') for line in lines), "every line is ours, from the first to the last"
    assert f'"url": "http://{"[::]" if host == "::" else host}:{service.port}"' in service.output()
    assert '"Application shutdown complete."' in service.output()


@pytest.mark.slow
async def test_a_signal_during_the_start_is_heard(tmp_path: Path) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/sync.db", "SECRET_KEY": "k" * 40}
    service = ServiceProcess(environment, tmp_path / "log")
    try:
        with closing(sqlite3.connect(tmp_path / "sync.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")  # the start waits for its end
            await until(lambda: _catches(service.pid, signal.SIGTERM))
            service.send(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait) in {0, 128 + signal.SIGTERM}
        assert "service started" not in service.output(), "it was too late to show anything"
    finally:
        service.kill()


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal, as proc(5) tells."""
    [mask] = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) & 1 << (number - 1))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_told_in_one_line_before_a_database_is_touched(
    local_service: ServiceProcess, fork_server: ForkServer, workers: str, tmp_path: Path
) -> None:
    other = {"DATABASE_URL": f"sqlite:///{tmp_path}/other.db", "SECRET_KEY": "k" * 40, "WEB_CONCURRENCY": workers}
    command = ("app", "serve", "--port", str(local_service.port))
    second = ServiceProcess(other, tmp_path / "second.log", command, fork_server)
    assert second.wait() == STARTUP_FAILED
    [line] = second.output().splitlines()
    assert f"SERVER_PORT: cannot listen on 127.0.0.1:{local_service.port}: Address already in use" in line
    assert not (tmp_path / "other.db").exists()
    assert httpx.get(f"{local_service.url}/health/live").status_code == 200


@on_sqlite
async def test_it_listens_on_a_unix_socket(begin_service: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_by_one_that_was_killed:
        left_by_one_that_was_killed.bind(str(path))
    service = begin_service("app", "serve", "--host", f"unix:{path}", LOG_LEVEL="INFO", METRICS_PORT="0")
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://service"
    ) as client:
        await until(lambda: f"url=unix:{path}" in service.output())
        assert (await get_once_connected(client)).status_code == 200
        second = begin_service("app", "serve", "--host", f"unix:{path}")
        assert await asyncio.to_thread(second.wait) == STARTUP_FAILED
        assert f"SERVER_HOST: cannot listen on unix:{path}: Address already in use" in second.output()
    assert await asyncio.to_thread(service.end) == 0
    assert not path.exists()


@on_sqlite
async def test_the_unix_socket_of_its_successor_stays(begin_service: Start, tmp_path: Path) -> None:
    """The successor takes the path once this process no longer listens, and may still respond to requests."""
    path = tmp_path / "socket"
    service = begin_service("app", "serve", "--host", f"unix:{path}", LOG_LEVEL="INFO")
    await until(lambda: f"url=unix:{path}" in service.output())
    path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        assert await asyncio.to_thread(service.end) == 0
        assert path.is_socket()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_database_that_is_away_is_a_clear_failure(fork_server: ForkServer, workers: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/sync.db"
    environment = {"DATABASE_URL": url, "SECRET_KEY": "k" * 40, "WEB_CONCURRENCY": workers}
    service = ServiceProcess(environment, tmp_path / "log", fork_server=fork_server)
    assert service.wait(60) == STARTUP_FAILED
    assert "DATABASE_URL: " in service.output()
    assert "Traceback" not in service.output()


@on_sqlite
async def test_a_database_that_hangs_does_not_hold_up_the_end(
    start_service: Start, frail_postgres: PostgresServer, tokens: TokenFactory
) -> None:
    service = start_service(
        DATABASE_URL=frail_postgres.url("postgres"), SHUTDOWN_TIMEOUT="1", SHUTDOWN_REQUEST_TIMEOUT="1"
    )
    async with httpx.AsyncClient(base_url=service.url, headers={"Authorization": f"Bearer {tokens.token()}"}) as client:
        answers = await asyncio.gather(*(client.get("/sync-events") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
    with frail_postgres.suspended():
        service.send(signal.SIGTERM)
        # 1 for requests, 1 each for the sweep and commits and 2 to give each up, 1 for the look at the database, 2 for
        # the reader of the feed, 2 to close its connections; and the rest for a busy machine. What waits for an answer
        # of the database waits for ever.
        assert await asyncio.to_thread(service.wait, 60) == 0


def _other_packages() -> list[str]:
    """What can be imported here and where only the service is installed cannot."""
    pinned = set(re.findall(r"^([a-z0-9.-]+)(?:\[.*\])?==", Path("requirements/runtime.txt").read_text(), re.MULTILINE))
    found = packages_distributions().items()
    return [package for package, names in found if pinned.isdisjoint(name.lower().replace("_", "-") for name in names)]


@on_postgresql
async def test_an_idle_process_takes_little_memory(start_service: Start, tmp_path: Path) -> None:
    """Some of our packages import more where there is more, as httpx does with rich; an image has none of it."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({_other_packages()}))")
    service = start_service(PYTHONPATH=str(tmp_path))
    assert psutil.Process(service.pid).memory_info().rss < 128_000_000


@on_sqlite
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_start_that_waits_for_its_database_ends_at_a_signal(
    begin_service: Start, workers: str, tmp_path: Path
) -> None:
    port = ReservedPort()
    service = begin_service(DATABASE_URL=f"postgresql://127.0.0.1:{port.number}/db", WEB_CONCURRENCY=workers)
    await until(lambda: "waiting for the database" in service.output())
    service.send(signal.SIGTERM)
    assert await asyncio.to_thread(service.wait) == 0
    assert "Traceback" not in service.output()
