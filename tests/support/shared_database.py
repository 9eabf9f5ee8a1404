"""A migrated database of each kind for all tests of some folders: it is emptied before a test, not made again.

A folder takes part when its `conftest.py` imports all of this module, and has one application too when it imports all
of `tests/support/shared_application.py`. Connections belong to the event loop that opened them, so all tests of the
folder run in the one of the session. Tables that a test adds are dropped again; another change of the schema needs a
database of its own.
"""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.main import create_app
from tests.conftest import BACKENDS, MakeSettings
from tests.support.application import serve_in_process
from tests.support.postgres import PostgresServer
from tests.support.waiting import until, until_ready

__all__ = [
    "database",
    "database_url",
    "make_settings",
    "shared_database",
    "shared_postgresql",
    "shared_sqlite",
]

_KEPT = "alembic_version"
_LIST_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'"

_COUNT_BUSY = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
       AND state <> 'idle'
"""


class SharedDatabase:
    """The database of a kind with its one engine, whose statements stay compiled and prepared from test to test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(Settings(_env_file=None, database_url=url))
        self._stack = AsyncExitStack()
        self._client: httpx.AsyncClient | None = None
        self._settings: dict[str, Any] = {}

    async def reset(self) -> None:
        """Make its content what the migrations have left, once nobody is in a transaction any more."""
        raise NotImplementedError

    async def client(self, make_settings: MakeSettings) -> httpx.AsyncClient:
        """A client without a token of the one application on this database, which begins with the first call."""
        settings = make_settings()
        of_all = settings.model_dump(exclude={"secret_key_file"})  # which is in the folder of each test
        if self._client is None:
            self._settings = of_all
            self._client = await self._stack.enter_async_context(serve_in_process(create_app(settings), swept=True))
            await until_ready(self._client)
        assert of_all == self._settings, "a test with other settings makes an application of its own"
        self._client.headers.pop("Authorization", None)
        return self._client

    async def close(self) -> None:
        await self._stack.aclose()
        await self.database.close()


class SharedSqlite(SharedDatabase):
    def __init__(self, template: Path, folder: Path) -> None:
        self._template, self._path = template, folder / "sync.db"
        shutil.copy(template, self._path)
        super().__init__(f"sqlite:///{self._path}")

    async def reset(self) -> None:
        with closing(sqlite3.connect(self._path, timeout=0, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("ATTACH ? AS pristine", (f"{self._template}",))
            await until(lambda: _begins(connection))
            pristine, tables = (
                {
                    name
                    for (name,) in connection.execute(
                        f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%'"  # noqa: S608
                    )
                }
                for schema in ("pristine", "main")
            )
            for table in tables - pristine - {"sqlite_sequence"}:
                connection.execute(f"DROP TABLE {table}")
            for table in pristine - {_KEPT}:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608
                if connection.execute(f"SELECT EXISTS (SELECT 1 FROM pristine.{table})").fetchone()[0]:  # noqa: S608
                    connection.execute(f"INSERT INTO {table} SELECT * FROM pristine.{table}")  # noqa: S608
            connection.execute("COMMIT")


def _begins(connection: sqlite3.Connection) -> bool:
    """Begin to write, if nobody else does."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


class SharedPostgres(SharedDatabase):
    _tables: set[str]
    _filled: list[str]  # of these, by the migrations

    async def prepare(self) -> None:
        """Keep what the migrations have left in a schema of its own."""
        async with self.database.transaction() as session:
            tables = (await session.scalars(text(_LIST_TABLES.format(schema="public")))).all()
            self._tables = set(tables) - {_KEPT}
            self._filled = [
                table
                for table in sorted(self._tables)
                if await session.scalar(text(f"SELECT EXISTS (SELECT 1 FROM {table})"))  # noqa: S608
            ]
            await session.execute(text("CREATE SCHEMA pristine"))
            for table in self._filled:
                await session.execute(text(f"CREATE TABLE pristine.{table} AS TABLE {table}"))

    async def reset(self) -> None:
        await until(self._is_reset)

    async def _is_reset(self) -> bool:
        """Reset it, unless a transaction is under way; a task in the background may begin one at any time."""
        with suppress(asyncpg.LockNotAvailableError):
            async with self.database.transaction() as session:
                connection = await (await session.connection()).get_raw_connection()
                driver: Any = connection.driver_connection
                if await driver.fetchval(_COUNT_BUSY):
                    return False
                tables = ", ".join(sorted(self._tables))
                present = [row[0] for row in await driver.fetch(_LIST_TABLES.format(schema="public"))]
                # NOWAIT, since a task that has locked one table may want another one.
                locked = f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE NOWAIT"
                added = [f"DROP TABLE {table}" for table in present if table not in self._tables | {_KEPT}]
                emptied = f"TRUNCATE {tables} RESTART IDENTITY"
                restored = [f"INSERT INTO {table} TABLE pristine.{table}" for table in self._filled]
                await driver.execute("; ".join([locked, *added, emptied, *restored]))
                return True
        return False


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_postgresql(postgres: PostgresServer, postgres_template: str) -> AsyncIterator[SharedDatabase]:
    name = f"shared_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY FILE_COPY")
    shared = SharedPostgres(postgres.url(name))
    await shared.prepare()
    yield shared
    await shared.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_sqlite(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SharedDatabase]:
    shared = SharedSqlite(sqlite_template, tmp_path_factory.mktemp("shared"))
    yield shared
    await shared.close()


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """The database under test; what asks for it runs on both."""
    shared: SharedDatabase = request.getfixturevalue(f"shared_{request.param}")
    return shared.url


@pytest.fixture
def shared_database(request: pytest.FixtureRequest, database_url: str) -> SharedDatabase:
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    shared: SharedDatabase = request.getfixturevalue(f"shared_{kind}")
    return shared


@pytest_asyncio.fixture(loop_scope="session")
async def database(shared_database: SharedDatabase) -> Database:
    """The database under test, with nothing in it."""
    await shared_database.reset()
    return shared_database.database


@pytest.fixture
def make_settings(make_settings: MakeSettings, database: Database) -> MakeSettings:
    """The settings of the suite, on the database under test once there is nothing in it."""
    return make_settings
