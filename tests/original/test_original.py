"""The files of the original README, pasted unchanged, start a service that works or name the one value it needs.

Of what they give, only the host and port of `DATABASE_URL` and `AUTH0_DOMAIN` differ here: those of the tests' servers.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from app.config import Settings
from tests.deploy.container_files import env_file, image_environment
from tests.docs.markdown import code_blocks
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import until, until_ready

ORIGINAL = Path(__file__).parent / "README.md"
SERVE = ("app", "serve", "--host", "127.0.0.1", "--port", "{port}")
STARTUP_FAILED = 1
Begin = Callable[[dict[str, str]], ServiceProcess]


@pytest.fixture
def begin(fork_server: ForkServer, tmp_path: Path, issuer: KeyServer) -> Iterator[Begin]:
    """Begin the command of the image, in its environment and in an empty folder, with what a file gives beside."""
    data = tmp_path / "data"
    data.mkdir()
    of_image = {name: value for name, value in image_environment().items() if name.lower() in Settings.model_fields}
    processes: list[ServiceProcess] = []

    def start(given: dict[str, str]) -> ServiceProcess:
        log = tmp_path / f"log-{len(processes)}"
        processes.append(ServiceProcess({**of_image, **given}, log, SERVE, fork_server, data))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


@contextmanager
def created(server: PostgresServer, name: str) -> Iterator[None]:
    """An empty database, which is dropped in the end."""
    server.sql(f"CREATE DATABASE {name}")
    try:
        yield
    finally:
        server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def the_env_file(tmp_path: Path) -> dict[str, str]:
    """What `docker run --env-file .env` makes of the original's `.env`."""
    [text] = [text for text in code_blocks(ORIGINAL, "env") if "SECRET_KEY" in text]
    path = tmp_path / ".env"
    path.write_text(text)
    return env_file(path)


def the_manifest(kind: str) -> dict[str, Any]:
    """The compose file or the Deployment."""
    documents = [yaml.safe_load(text) for text in code_blocks(ORIGINAL, "yaml")]
    [found] = [document for document in documents if kind in document]
    document: dict[str, Any] = found
    return document


def the_compose_environment(variables: dict[str, str]) -> dict[str, str]:
    """What Compose gives the service; it fills in an empty text for a variable that nobody has set."""
    pairs = the_manifest("services")["services"]["sync-service"]["environment"]
    filled = [re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match[1], ""), pair) for pair in pairs]
    return dict(pair.split("=", 1) for pair in filled)


def refusal(process: ServiceProcess) -> str:
    """The one line of a start that is refused."""
    assert process.wait() == STARTUP_FAILED
    [line] = process.output().splitlines()
    return line


async def works(service: ServiceProcess, tokens: TokenFactory) -> bool:
    """Whether an event is recorded with a token of the issuer, and found again."""
    headers = {"Authorization": f"Bearer {tokens.token()}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers) as client:
        await until_ready(client)
        assert (await client.get("/")).json()["title"] == "Synchronization Service API"
        event = {"file_id": str(uuid4()), "event_type": "upload"}
        event_id = (await client.post("/sync-events", json=event)).json()["event_id"]
        listed = (await client.get("/sync-events")).json()
        return event_id in str(listed)


async def test_the_env_file(begin: Begin, issuer: KeyServer, tokens: TokenFactory, tmp_path: Path) -> None:
    given = the_env_file(tmp_path)
    assert "AUTH0_DOMAIN still has its placeholder value" in refusal(begin(given))
    service = begin({**given, "AUTH0_DOMAIN": issuer.domain})
    service.wait_until_healthy()
    assert await works(service, tokens)
    assert "SECRET_KEY is a placeholder and counts as empty" in service.output()
    assert (tmp_path / "data" / "sync.db").exists()


async def test_the_compose_file_whose_postgresql_starts_later(
    begin: Begin, issuer: KeyServer, tokens: TokenFactory, frail_postgres: PostgresServer
) -> None:
    assert "AUTH0_DOMAIN must be set" in refusal(begin(the_compose_environment({})))
    given = the_compose_environment({"AUTH0_DOMAIN": issuer.domain})
    assert given["API_AUDIENCE"] == ""
    given["DATABASE_URL"] = given["DATABASE_URL"].replace("db:5432", f"127.0.0.1:{frail_postgres.port}")
    with created(frail_postgres, "sync_db"):
        frail_postgres.stop()
        try:
            service = begin(given)
            await until(lambda: "waiting for the database" in service.output())
            with pytest.raises(TimeoutError):
                await until(lambda: "cannot" in service.output(), deadline_seconds=1)
        finally:
            frail_postgres.start()
        service.wait_until_healthy()
        assert await works(service, tokens)
        service.kill()


async def test_the_manifest_whose_replicas_start_together_on_an_empty_database(
    begin: Begin, issuer: KeyServer, tokens: TokenFactory, postgres: PostgresServer
) -> None:
    deployment = the_manifest("apiVersion")["spec"]
    [variable] = deployment["template"]["spec"]["containers"][0]["env"]
    assert variable == {
        "name": "DATABASE_URL",
        "valueFrom": {"secretKeyRef": {"name": "sync-secrets", "key": "database-url"}},
    }
    secret = {"DATABASE_URL": postgres.url("of_the_manifest")}
    with created(postgres, "of_the_manifest"):
        assert "AUTH0_DOMAIN must be set" in refusal(begin(secret))
        replicas = [begin({**secret, "AUTH0_DOMAIN": issuer.domain}) for _ in range(deployment["replicas"])]
        for replica in replicas:
            replica.wait_until_healthy()
        assert all([await works(replica, tokens) for replica in replicas])
        migrated = [replica.output().count("Running upgrade  -> 0001") for replica in replicas]
        assert sorted(migrated) == [0, 0, 1]
        for replica in replicas:
            replica.kill()
