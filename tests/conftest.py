"""Fixtures of the whole suite: both databases, built by the migrations; a real key server; the service in-process."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from app.database.opening import prepare_database
from app.main import create_app
from tests.support.application import serve_in_process
from tests.support.compiled_statements import share_compiled_statements
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.postgres import PostgresServer
from tests.support.process import SERVE, ServiceProcess
from tests.support.tokens import SigningKey, TokenFactory

# A run in the background of a shell begins with SIGINT ignored, which every process that a test starts would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where it is set, every one of hundreds of processes would compile the service for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

share_compiled_statements()

ROOT = Path(__file__).parents[1]
AUDIENCE = "https://cloud-api.rakai/"
BACKENDS = ("sqlite", "postgresql")
LOCAL_MODE = {"AUTH0_DOMAIN": "", "SECRET_KEY": "a-secret-of-these-tests-with-enough-characters"}

pytest_plugins = ["tests.support.selection"]

Alembic = Callable[..., "subprocess.CompletedProcess[str]"]
MakeSettings = Callable[..., Settings]


def migrate(url: str) -> None:
    """Bring a database up to date in this process, which alembic's command line takes seconds for."""
    asyncio.run(prepare_database(Settings(_env_file=None, database_url=url)))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL of the run; `SYNC_TEST_POSTGRES` chooses the major version."""
    server = PostgresServer(int(os.environ.get("SYNC_TEST_POSTGRES", "18")))
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def frail_postgres() -> Iterator[PostgresServer]:
    """A server apart, with one migrated database, to be stopped and suspended; a test that does so mends it again."""
    server = PostgresServer(in_memory=False)  # what it has committed is to outlive it
    server.start()
    migrate(server.url("postgres"))
    yield server
    server.remove()


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """A migrated database to copy."""
    postgres.sql("CREATE DATABASE migrated")
    migrate(postgres.url("migrated"))
    return "migrated"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy."""
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A fresh migrated PostgreSQL database."""
    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY FILE_COPY")
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh migrated SQLite database."""
    path = tmp_path / "sync.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh migrated database of each kind: what asks for it runs on both."""
    url: str = request.getfixturevalue("postgres_url" if request.param == "postgresql" else "sqlite_url")
    return url


@pytest.fixture(scope="session")
def signing_key() -> SigningKey:
    """The key of the issuer."""
    return SigningKey.rsa("session-key")


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory, signing_key: SigningKey) -> Iterator[KeyServer]:
    """A real HTTPS key server, trusted by this process and its children."""
    with KeyServer(tmp_path_factory.mktemp("issuer")) as server:
        server.serve(signing_key)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(server.ca_file))
            yield server


@pytest.fixture
def tokens(issuer: KeyServer, signing_key: SigningKey) -> TokenFactory:
    """Real RS256 tokens."""
    return TokenFactory(issuer.issuer, AUDIENCE, signing_key)


@pytest.fixture
def special_settings() -> dict[str, Any]:
    """What the tests of a folder set beside the settings of the suite."""
    return {}


@pytest.fixture
def make_settings(
    database_url: str, issuer: KeyServer, tmp_path: Path, special_settings: dict[str, Any]
) -> MakeSettings:
    """Settings in Auth0 mode on the database under test. The sweep is left to the test unless it asks for it."""

    def make(**changes: Any) -> Settings:
        defaults: dict[str, Any] = {
            "database_url": database_url,
            "auth0_domain": issuer.domain,
            "api_audience": AUDIENCE,
            "sync_event_process_interval": 3600,
            "jwks_timeout_seconds": 60,  # the first request waits for the keys
            "secret_key_file": tmp_path / "secret_key",
            "log_level": "WARNING",
        }
        return Settings(_env_file=None, **{**defaults, **special_settings, **changes})

    return make


@pytest.fixture
async def database(make_settings: MakeSettings) -> AsyncIterator[Database]:
    """The database under test, through our own engine."""
    database = Database(make_settings())
    yield database
    await database.close()


@pytest.fixture
async def anonymous(make_settings: MakeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token, of the whole application with its lifespan running."""
    async with serve_in_process(create_app(make_settings()), swept=True) as client:
        yield client


@pytest.fixture
async def client(anonymous: httpx.AsyncClient, tokens: TokenFactory) -> httpx.AsyncClient:
    """The same client with a token of `chunker@clients` that allows everything."""
    scope = "read:sync write:sync admin:sync"
    anonymous.headers["Authorization"] = f"Bearer {tokens.token(scope=scope)}"
    return anonymous


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """What service processes are forked from."""
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="session")
def alembic(fork_server: ForkServer) -> Alembic:
    """Run alembic's own command line against a database, in a process of its own; a failure is an error."""

    def run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "DATABASE_URL": url, "LOG_LEVEL": "WARNING"}
        done = fork_server.run(("alembic", *arguments), environment)
        done.check_returncode()
        return done

    return run


@contextmanager
def service_processes(
    url: str, issuer: KeyServer, fork_server: ForkServer, folder: Path
) -> Iterator[Callable[..., ServiceProcess]]:
    """Begin real service processes on a database, without waiting for them; they are ended with the block.

    Where a variable is given that Python itself reads when it starts, a Python of its own runs it.
    """
    processes: list[ServiceProcess] = []

    def begin(*program: str, **variables: str) -> ServiceProcess:
        own_python = any(name.startswith("PYTHON") for name in variables)
        environment = {
            "DATABASE_URL": url,
            "AUTH0_DOMAIN": issuer.domain,
            "API_AUDIENCE": AUDIENCE,
            "SYNC_EVENT_PROCESS_INTERVAL": "0.2",
            "LOG_LEVEL": "WARNING",
            **variables,
        }
        log = folder / f"service-{len(processes)}.log"
        process = ServiceProcess(environment, log, program or SERVE, None if own_python else fork_server)
        processes.append(process)
        return process

    try:
        yield begin
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def begin_service(
    database_url: str, issuer: KeyServer, fork_server: ForkServer, tmp_path: Path
) -> Iterator[Callable[..., ServiceProcess]]:
    """Begin real service processes on the database under test."""
    with service_processes(database_url, issuer, fork_server, tmp_path) as begin:
        yield begin


@pytest.fixture
def start_service(begin_service: Callable[..., ServiceProcess]) -> Callable[..., ServiceProcess]:
    """Begin one and wait until it is healthy."""

    def start(*command: str, **variables: str) -> ServiceProcess:
        process = begin_service(*command, **variables)
        process.wait_until_healthy()
        return process

    return start


@pytest.fixture
def start_replicas(begin_service: Callable[..., ServiceProcess]) -> Callable[..., list[ServiceProcess]]:
    """Begin some at once and wait until all are healthy."""

    def start(number: int, **variables: str) -> list[ServiceProcess]:
        replicas = [begin_service(**variables) for _ in range(number)]
        for replica in replicas:
            replica.wait_until_healthy()
        return replicas

    return start


@pytest.fixture(scope="session")
def local_service(
    sqlite_template: Path, issuer: KeyServer, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """One service in local mode, for all tests that bear what the others have recorded."""
    folder = tmp_path_factory.mktemp("local-service")
    shutil.copy(sqlite_template, folder / "sync.db")
    with service_processes(f"sqlite:///{folder / 'sync.db'}", issuer, fork_server, folder) as begin:
        process = begin(**LOCAL_MODE)
        process.wait_until_healthy()
        yield process
