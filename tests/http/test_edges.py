"""What clients, proxies and a log reader do to one real process, whose files are few and whose log is a pipe."""

import asyncio
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import AUDIENCE, ROOT
from tests.support.keyserver import KeyServer
from tests.support.ports import ReservedPort
from tests.support.raw_http import connect
from tests.support.tokens import SigningKey, TokenFactory
from tests.support.waiting import until, until_ready

FILES = 400  # of which 216 are for connections
RUN = f'ulimit -n {FILES}; exec "$0" -m app serve --port "$1"'


class Service:
    """A process whose log nobody reads but `lines`."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, token: str) -> None:
        assert process.stderr
        self.process, self.port, self.token = process, port, token
        self._log = process.stderr.fileno()
        self._read = b""
        os.set_blocking(self._log, False)

    def shrink_pipe(self) -> None:
        """Let it be full after a few lines."""
        fcntl.fcntl(self._log, fcntl.F_SETPIPE_SZ, 4096)

    def lines(self) -> list[dict[str, Any]]:
        """Every line that has come so far, each of which is whole."""
        with suppress(BlockingIOError):
            while data := os.read(self._log, 65_536):
                self._read += data
        return [json.loads(line) for line in self._read.decode().splitlines()]

    def head(self, method: str, target: str, *headers: str, version: str = "1.1") -> bytes:
        """The head of a request with the token."""
        own = ("Host: x", f"Authorization: Bearer {self.token}", *headers)
        return "\r\n".join([f"{method} {target} HTTP/{version}", *own, "", ""]).encode()

    def post(self, body: bytes, sent: int | None = None) -> bytes:
        """A POST of `body`, of which `sent` bytes are sent."""
        headers = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        return self.head("POST", "/sync-events", *headers) + body[:sent]


@pytest.fixture(scope="module")
def service(
    sqlite_template: Path, issuer: KeyServer, signing_key: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One process for all tests of this module."""
    database = tmp_path_factory.mktemp("edges") / "sync.db"
    shutil.copy(sqlite_template, database)
    port = ReservedPort()
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{database}",
        "AUTH0_DOMAIN": issuer.domain,
        "API_AUDIENCE": AUDIENCE,
        "LOG_FORMAT": "json",
    }
    command = ["sh", "-c", RUN, sys.executable, str(port.number)]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            scope = "read:sync write:sync admin:sync"
            token = TokenFactory(issuer.issuer, AUDIENCE, signing_key).token(scope=scope)
            yield Service(process, port.number, token)
        finally:
            process.kill()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {service.token}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", headers=headers) as client:
        await until(lambda: answers(client))
        await until_ready(client)
        yield client


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/live")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def metric(client: httpx.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")))


def event() -> bytes:
    return json.dumps({"file_id": str(uuid4()), "event_type": "upload"}).encode()


@pytest.mark.slow
async def test_a_log_that_nobody_reads_stops_nobody(service: Service, client: httpx.AsyncClient) -> None:
    service.lines()
    service.shrink_pipe()
    for _ in range(60):
        assert (await client.get("/sync-events")).status_code == 200
    dropped = await metric(client, "sync_log_lines_dropped_total")
    assert dropped > 20
    count = len(service.lines())
    await client.get("/sync-events")
    await client.get("/sync-events")
    [warning] = [line for line in service.lines()[count:] if line["level"] == "warning"]
    assert (warning["event"], warning["lines"]) == (
        "log lines were dropped: standard error did not take them at once",
        dropped,
    )


def pipelined(service: Service, *targets: str) -> socket.socket:
    """A connection that has sent a GET for each, and that resets when it is closed."""
    connection = socket.create_connection(("127.0.0.1", service.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sendall(b"".join(service.head("GET", target) for target in targets))
    return connection


async def test_a_client_that_resets_among_its_requests_is_no_error(service: Service, client: httpx.AsyncClient) -> None:
    seen = len(service.lines())
    waiting = "/changes?cursor=latest&wait=30"
    with pipelined(service, waiting, "/sync-events", "/sync-events", "/sync-events"):
        await until(lambda: is_followed(client))
    await until(lambda: any(line["status"] == 499 for line in service.lines()[seen:]), deadline_seconds=10)
    for _ in range(30):
        with pipelined(service, *["/sync-events?limit=100"] * 4) as connection:
            await asyncio.to_thread(connection.recv, 1)
    assert await answers(client)
    lines = service.lines()[seen:]
    assert {line["level"] for line in lines} == {"info"}
    assert {line["status"] for line in lines} == {200, 499}


async def is_followed(client: httpx.AsyncClient) -> bool:
    return await metric(client, 'sync_changes_followers{kind="long_poll"}') == 1


@pytest.mark.usefixtures("client")
async def test_a_client_that_ends_its_side_has_its_responses(service: Service) -> None:
    for requests, statuses in (
        (service.post(event()), [201]),
        (service.head("GET", "/sync-events"), [200]),
        (service.head("GET", "/sync-events") * 3 + service.post(event()), [200, 200, 200, 201]),
        (service.head("GET", "/files/x") + service.post(event(), sent=5), [404]),
        (service.head("GET", "/changes?wait=0") + service.head("GET", "/health")[:20], [200]),
    ):
        async with connect(service.port) as connection:
            await connection.send(requests)
            connection.end()
            assert [(await connection.answer()).status for _ in statuses] == statuses
            assert await connection.rest() == b""


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("target", ["/changes?cursor=latest&wait=30", "/changes/stream?cursor=latest", ""])
async def test_what_waits_for_events_or_for_its_body_ends_with_its_client(service: Service, target: str) -> None:
    seen = len(service.lines())
    async with connect(service.port) as connection:
        await connection.send(service.head("GET", target) if target else service.post(event(), sent=5))
        connection.end()
        async with asyncio.timeout(5):
            assert b"201" not in await connection.rest()
    await until(lambda: len(service.lines()) > seen)
    assert (line := service.lines()[seen])["level"] == "info"
    assert line["status"] in ({200, 499} if "stream" in target else {499})


@pytest.mark.usefixtures("client")
async def test_http_1_0_has_no_chunks(service: Service) -> None:
    async with connect(service.port) as connection:
        await connection.send(service.head("GET", "/changes/stream?cursor=latest", version="1.0"))
        await connection.send(service.head("GET", "/health"))
        async with connect(service.port) as other:
            await other.send(service.post(event()))
            assert (await other.answer()).status == 201
        text = await connection.until(b'"event_type":"upload"')
        connection.end()
    head, _, body = text.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith((b":", b"id:", b"event:", b"retry:", b"data:")), "no length of a chunk"


@pytest.mark.parametrize(("said", "url"), [("/api/sync/", "/api/sync"), ("//evil.example", "/"), ("/a?b", "/")])
async def test_a_proxy_names_the_prefix_that_it_strips(client: httpx.AsyncClient, said: str, url: str) -> None:
    document = (await client.get("/openapi.json", headers={"X-Forwarded-Prefix": said})).json()
    assert [server["url"] for server in document["servers"]] == [url]


async def test_references_hold_behind_a_prefix(client: httpx.AsyncClient) -> None:
    def behind(response: httpx.Response, reference: str) -> str:
        """The path that the service sees when a proxy strips `/api/sync/`."""
        outside = httpx.URL(f"https://files.example/api/sync{response.url.path}").join(reference)
        assert outside.host == "files.example"
        return outside.raw_path.decode().removeprefix("/api/sync")

    created = [await client.post("/sync-events", json=json.loads(event())) for _ in range(2)]
    for one in created:
        assert (await client.get(behind(one, one.headers["Location"]))).json()["event_id"] == one.json()["event_id"]
    page = await client.get("/sync-events?limit=1")
    after = await client.get(behind(page, page.links["next"]["url"]))
    assert after.json()[0]["position"] == page.json()[0]["position"] - 1
    root = await client.get("/")
    assert {(await client.get(behind(root, link))).status_code for link in root.json()["links"].values()} == {200}


async def test_strangers_do_not_use_up_the_files(service: Service, client: httpx.AsyncClient) -> None:
    seen, closed = len(service.lines()), await metric(client, "sync_http_connections_closed_total")
    assert closed == 0
    strangers = []
    for number in range(FILES + 50):
        strangers.append(socket.create_connection(("127.0.0.1", service.port), timeout=5))
        if number % 10 == 0:  # an honest request on a connection of its own
            async with connect(service.port) as connection:
                await connection.send(service.post(event()))
                assert (await connection.answer()).status == 201
    for stranger in strangers:
        stranger.close()
    assert 200 < await metric(client, "sync_http_connections_closed_total") < FILES
    warnings = [line for line in service.lines()[seen:] if line["level"] != "info"]
    assert [line["event"] for line in warnings] == [
        "too many connections for the limit of open files: the idlest are closed"
    ]
