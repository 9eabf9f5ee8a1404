"""The commands of the image and of the compose file do their work, in the environment that they get there."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from tests.conftest import ROOT
from tests.deploy.container_files import compose_services, exec_form, image_environment, only
from tests.support.keyserver import KeyServer
from tests.support.ports import ReservedPort
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

HEALTH = exec_form(only("Dockerfile", "HEALTHCHECK"))
SERVE = exec_form(only("Dockerfile", "CMD"))
MIGRATE = compose_services({})["migrate"]["command"]


class Image:
    """The image, played by this interpreter, with this repository as /app and an empty folder as /data."""

    def __init__(self, data: Path, variables: dict[str, str]) -> None:
        self.data = data
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        others = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
        self._environment = {
            **others,
            **{name: value.replace("/app", str(ROOT)) for name, value in image_environment().items()},
            **compose_services(variables)["sync-service"]["environment"],
            "PATH": f"{Path(sys.executable).parent}:{others['PATH']}",
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            **variables,
        }

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a command."""
        return subprocess.Popen(command, cwd=self.data, env=self._environment)

    def run(self, command: list[str]) -> int:
        """Run a command and return its exit status."""
        return self.start(command).wait(60)


@pytest.fixture
def image(tmp_path: Path, postgres: PostgresServer, issuer: KeyServer) -> Iterator[Image]:
    """The image beside an empty PostgreSQL and its issuer."""
    postgres.sql("CREATE DATABASE compose")
    data = tmp_path / "data"
    data.mkdir()
    yield Image(data, {"DATABASE_URL": postgres.url("compose"), "AUTH0_DOMAIN": issuer.domain})
    postgres.sql("DROP DATABASE compose WITH (FORCE)")


async def test_compose_migrates_then_serves_then_ends_in_order_and_leaves_no_file(image: Image) -> None:
    assert image.run(HEALTH) == 1, "nobody answers yet"
    assert image.run(MIGRATE) == 0
    service = image.start(SERVE)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{image.port}") as client:
            await until(lambda: _is_ready(client))
        assert image.run(HEALTH) == 0
    finally:
        service.send_signal(signal.SIGTERM)
        status = service.wait(30)
    assert status == 0
    assert list(image.data.iterdir()) == []


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/ready")).status_code == httpx.codes.OK
    except httpx.TransportError:  # it does not listen yet
        await asyncio.sleep(0.1)
        return False


def test_an_answer_that_is_not_200_is_unhealthy(image: Image) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(httpx.codes.SERVICE_UNAVAILABLE)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", image.port), Refusing) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert image.run(HEALTH) == 1
        thread.join()
