"""The lines of whole processes: from the first to the last in our shape, and without secrets."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.conftest import ROOT, Alembic
from tests.log.text_line import read_text_line
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory

Start = Callable[..., ServiceProcess]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(fork_server: ForkServer) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a module to its end."""

    def run(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return fork_server.run(command, {**os.environ, **variables})

    return run


def records(output: str) -> list[dict[str, Any]]:
    """The JSON records of an output that holds nothing else."""
    return [json.loads(line) for line in output.splitlines()]


@on_sqlite
def test_text_is_in_one_shape_too(start_service: Start) -> None:
    service = start_service(LOG_LEVEL="INFO", LOG_FORMAT="text")
    service.send(signal.SIGTERM)
    service.wait()
    events = [read_text_line(line)["event"] for line in service.output().splitlines()]
    assert events[0].startswith("Started server process")
    assert events[-1].startswith("Finished server process")


@pytest.mark.slow
@pytest.mark.parametrize("stderr", ["/dev/full", "&-", "/dev/null"])
def test_a_log_that_cannot_be_written_is_counted_and_stops_nothing(stderr: str) -> None:
    code = (
        "import logging; from app.log import configure_logging; from app.log.stderr import count_dropped_lines\n"
        "dropped = []; configure_logging(level='INFO', as_json=True); count_dropped_lines(lambda: dropped.append(1))\n"
        "for _ in range(5): logging.getLogger('x').info('line')\n"
        "print(len(dropped))"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" 2>{stderr}', sys.executable, code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    assert int(done.stdout) == (0 if stderr == "/dev/null" else 5)


@on_postgresql
def test_workers_that_uvicorn_starts_write_the_same_shape(
    database_url: str, issuer: KeyServer, fork_server: ForkServer, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": database_url, "AUTH0_DOMAIN": issuer.domain, "LOG_FORMAT": "json"}
    command = ("uvicorn", "app.main:app", "--workers", "2", "--port", "{port}")
    service = ServiceProcess(environment, tmp_path / "log", command, fork_server)
    try:
        service.wait_until_healthy()
        service.send(signal.SIGTERM)
        service.wait()
    finally:
        service.kill()
    # uvicorn's parent process never sees the application, so its own lines stay as they are.
    lines = records("\n".join(line for line in service.output().splitlines() if not line.startswith("INFO:  ")))
    assert sum(line["event"].startswith("Started server process") for line in lines) == 2


@on_sqlite
def test_alembic_writes_the_same_shape(run: Run, database_url: str, alembic: Alembic) -> None:
    alembic(database_url, "downgrade", "base")
    done = run("alembic", "upgrade", "head", DATABASE_URL=database_url, LOG_FORMAT="json")
    lines = records(done.stderr)
    assert any("Running upgrade" in line["event"] for line in lines)
    assert all(line["logger"].startswith("alembic") for line in lines)


UNCAUGHT = {
    "warning": 'import warnings; warnings.warn("a\\nforged")',
    "task": 'import asyncio\nasync def fail(): raise RuntimeError("a\\nforged")\n'
    "async def main():\n  task = asyncio.create_task(fail())\n  await asyncio.sleep(0.01)\nasyncio.run(main())",
    "thread": 'import threading\ndef fail(): raise RuntimeError("a\\nforged")\n'
    "thread = threading.Thread(target=fail); thread.start(); thread.join()",
    "exception": 'raise RuntimeError("a\\nforged")',
}


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
@pytest.mark.parametrize("code", UNCAUGHT.values(), ids=UNCAUGHT.keys())
def test_what_nobody_catches_is_in_the_same_shape(
    fork_server: ForkServer, tmp_path: Path, code: str, as_json: bool
) -> None:
    start = f"from app.log import configure_logging; configure_logging(level='INFO', as_json={as_json})\n"
    (script := tmp_path / "script.py").write_text(start + code)
    output = fork_server.run(("tests.support.script", str(script)), dict(os.environ)).stderr
    if as_json:
        [record] = records(output)
        assert "forged" in json.dumps(record)
    else:
        line, *more = output.splitlines()
        assert read_text_line(line)["level"] in ("warning", "error", "critical")
        assert all(continuation.startswith("    | ") for continuation in more)


@on_sqlite
def test_everything_is_in_one_shape_and_the_line_of_a_request_names_its_event(
    start_service: Start, tokens: TokenFactory
) -> None:
    service = start_service(LOG_LEVEL="INFO", LOG_FORMAT="json")
    event = {"file_id": str(uuid4()), "event_type": "upload"}
    headers = {"Authorization": f"Bearer {tokens.token(sub='me')}"}
    with httpx.Client(base_url=service.url, headers=headers) as client:
        created = client.post("/sync-events", json=event).json()["event_id"]
        client.post("/sync-events/batch", json={"events": [event, event]})
    service.end()
    lines = records(service.output())
    assert lines[0]["event"].startswith("Started server process")
    assert lines[-1]["event"].startswith("Finished server process")
    posted = [line for line in lines if line.get("method") == "POST"]
    assert [(line["subject"], line.get("event_id"), line.get("events")) for line in posted] == [
        ("me", created, None),
        ("me", None, 2),
    ]
    assert UUID(created).version == 7


BAD_URLS = {
    "nobody listens": "postgresql://user:hunter2@127.0.0.1:1/sync?sslmode=disable",
    "no such host": "postgresql+asyncpg://user:hunter2@host.invalid/sync",
    "no such driver": "mysql://user:hunter2@127.0.0.1/sync",
    "no such port": "postgres://user:hunter2@127.0.0.1:hunter2/sync",
    "no such file": "sqlite:////nowhere/hunter/2.db",
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS.keys())
def test_a_bad_database_url_is_refused_without_its_password(run: Run, url: str) -> None:
    variables = {"DATABASE_URL": url, "DATABASE_START_TIMEOUT": "1", "LOG_LEVEL": "DEBUG", "AUTH0_DOMAIN": ""}
    for command in (
        ("uvicorn", "app.main:app", "--port", "0"),
        ("alembic", "upgrade", "head"),
    ):
        done = run(*command, **variables)
        assert done.returncode != 0
        assert done.stderr
        assert "hunter2" not in done.stdout + done.stderr


def test_a_refused_login_is_told_without_its_password(run: Run, postgres_url: str) -> None:
    url = postgres_url.replace("postgres@", "nobody:hunter2@")
    variables = {"DATABASE_URL": url, "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json", "AUTH0_DOMAIN": ""}
    service = run("uvicorn", "app.main:app", "--port", "0", **variables)
    alembic = run("alembic", "upgrade", "head", **variables)
    for done in (service, alembic):
        assert done.returncode != 0
        assert "nobody" in done.stderr
        assert "hunter2" not in done.stderr
    assert records(service.stderr)
    assert "Traceback" not in alembic.stderr
