"""The resources of a run: the database server, the issuer of tokens, fresh databases, and services on them."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from app.config import Settings
from app.database.opening import prepare_database
from benchmarks.database import PostgresStore, SqliteStore, Store
from benchmarks.fill import fill_ledger
from benchmarks.plan import Plan
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import SigningKey, TokenFactory

ROOT = Path(__file__).parents[1]
AUDIENCE = "https://cloud-api.rakai/"
POSTGRES_OPTIONS = (
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=15min",
)
QUIET = {"LOG_LEVEL": "WARNING"}
ALONE = {**QUIET, "SYNC_EVENT_PROCESS_INTERVAL": "86400"}  # no log, and a sweep that waits for the end
SUBJECTS = 64
SCOPE = "read:sync write:sync"
SERVE = ("app", "serve", "--port", "{port}")


class Bench:
    """Use as a context manager; everything that it started ends with it.

    Services run in Auth0 mode, with RS256 tokens of a local HTTPS key server. `tokens` is a file of tokens, one a line,
    each of its own subject; `token` is one more. With a `fork_server` they are forked from it, which saves each its
    imports and changes its memory use.
    """

    def __init__(self, plan: Plan, *, needs_large_store: bool = False, fork_server: ForkServer | None = None) -> None:
        self.plan = plan
        self._fork_server = fork_server
        self._needs_large_store = needs_large_store
        self._large_store: Future[PostgresStore] | None = None
        self._stack = ExitStack()
        self._starting: list[ServiceProcess] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sync-bench-")))
            self.folder.chmod(0o755)  # PostgreSQL's programs read their scripts as another user
            key = SigningKey.rsa("bench-key")
            issuer = stack.enter_context(KeyServer(self.folder))
            issuer.serve(key)
            factory = TokenFactory(issuer.issuer, AUDIENCE, key)
            self.token = factory.token(scope=f"{SCOPE} admin:sync")
            self.tokens = self.folder / "tokens"
            subjects = (factory.token(scope=SCOPE, sub=f"chunker-{number}@clients") for number in range(SUBJECTS))
            self.tokens.write_text("".join(f"{token}\n" for token in subjects))
            self._environment = {
                "AUTH0_DOMAIN": issuer.domain,
                "API_AUDIENCE": AUDIENCE,
                "SSL_CERT_FILE": str(issuer.ca_file),
            }
            self._peer_environment = {
                "PEER_KEY": key.public_pem(),
                "PEER_ISSUER": issuer.issuer,
                "PEER_AUDIENCE": AUDIENCE,
            }
            self.postgres = PostgresServer(in_memory=False)  # a commit waits for the disk
            stack.callback(self.postgres.remove)
            self.postgres.start(*POSTGRES_OPTIONS)
            self.postgres.sql("CREATE DATABASE migrated")
            _migrate(self.postgres.url("migrated"))
            self._sqlite_template = self.folder / "migrated.db"
            _migrate(f"sqlite:///{self._sqlite_template}")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    @contextmanager
    def postgres_store(self) -> Iterator[PostgresStore]:
        """A fresh migrated database on PostgreSQL."""
        name = f"bench_{uuid4().hex}"
        self.postgres.sql(f"CREATE DATABASE {name} TEMPLATE migrated")
        try:
            yield PostgresStore(self.postgres.url(name))
        finally:
            self.postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def begin_filling(self) -> None:
        """Fill the large ledger in the background, if the run needs one and it is not under way."""
        if self._needs_large_store and self._large_store is None:
            thread = self._stack.enter_context(ThreadPoolExecutor(1))
            store = self._stack.enter_context(self.postgres_store())
            self._large_store = thread.submit(_fill, store, self.plan.large_rows)

    def large_store(self) -> PostgresStore:
        """The large ledger, once it is filled. There is one for the whole run."""
        self.begin_filling()
        assert self._large_store is not None  # noqa: S101 - it is only asked for by who needs it
        return self._large_store.result()

    @contextmanager
    def sqlite_store(self) -> Iterator[SqliteStore]:
        """A fresh migrated SQLite file."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / "sync.db"
            shutil.copy(self._sqlite_template, path)
            yield SqliteStore(path)

    def service(self, store: Store, **variables: str) -> AbstractContextManager[ServiceProcess]:
        """The service itself on `store`, as `python -m app serve` runs it, with these settings, else the defaults.

        It serves after `wait_until_healthy`, like everything that is started here.
        """
        return self._process(SERVE, store, variables)

    def baseline(self, name: str, store: Store) -> AbstractContextManager[ServiceProcess]:
        """One of `benchmarks.services` on `store`, with the settings `ALONE`."""
        return self._process(("benchmarks.services", name, "{port}"), store, ALONE)

    def fastify(self, store: Store, table: str, *, workers: int) -> AbstractContextManager[ServiceProcess]:
        """The service on Fastify, which inserts into `table`, with positions of the sequence `{table}_position`."""
        variables = {**self._peer_environment, "PEER_TABLE": table, "PEER_WORKERS": str(workers)}
        return self._process(("benchmarks.services.fastify", "{port}"), store, variables)

    def sink(self, store: Store) -> AbstractContextManager[ServiceProcess]:
        """A receiver of webhooks, see `benchmarks.sink`; it leaves `store` alone."""
        return self._process(("benchmarks.sink", "{port}"), store, {})

    def owner(self, store: Store) -> AbstractContextManager[ServiceProcess]:
        """A source of the consistency checks, see `benchmarks.owner`; it leaves `store` alone."""
        return self._process(("benchmarks.owner", "{port}"), store, {})

    @contextmanager
    def _process(
        self, command: tuple[str, ...], store: Store, variables: Mapping[str, str]
    ) -> Iterator[ServiceProcess]:
        log = self.folder / f"{uuid4().hex}.log"
        environment = {**self._environment, "DATABASE_URL": store.url, **variables}
        process = ServiceProcess(environment, log, command, self._fork_server)
        try:
            self._starting.append(process)
            yield process
            process.end()
        finally:
            process.kill()

    def wait_until_healthy(self) -> None:
        """Wait for all started services, which start in parallel.

        Raises:
            RuntimeError: with the output of a process that did not start.
        """
        while self._starting:
            self._starting.pop().wait_until_healthy()

    def python(self, module: str, store: Store, *arguments: str) -> str:
        """Run a module of this project to its end, with the settings `ALONE` on `store`; returns its output."""
        environment = {**os.environ, **self._environment, **ALONE, "DATABASE_URL": store.url}
        done = (
            self._fork_server.run((module, *arguments), environment)
            if self._fork_server
            else subprocess.run(
                [sys.executable, "-m", module, *arguments],
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
        )
        if done.returncode:
            raise RuntimeError(f"{module} failed: {done.stderr}")
        return done.stdout


def _fill(store: PostgresStore, rows: int) -> PostgresStore:
    fill_ledger(store, rows, processed=True)
    return store


def _migrate(url: str) -> None:
    asyncio.run(prepare_database(Settings(_env_file=None, database_url=url)))
