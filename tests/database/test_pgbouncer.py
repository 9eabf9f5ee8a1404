"""The service works behind PgBouncer in transaction mode, and leaves nothing in its server connections."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.deliveries.support import make_sweeper
from tests.events.support import add_events, read_ledger
from tests.support.marks import on_postgresql
from tests.support.postgres import ORDINARY_USER, START_DEADLINE_SECONDS, PostgresServer

pytestmark = [
    pytest.mark.pgbouncer,
    pytest.mark.skipif(
        not (os.environ.get("CI") == "true" or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")),
        reason="pgbouncer is missing (Debian: apt-get install pgbouncer)",
    ),
    on_postgresql,
]
SERVER_CONNECTIONS = 3
STATEMENTS = "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements)"
PORT = 6432  # in the name of its socket, which is in a folder of its own
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port} user=postgres
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {server_connections}
"""


class PgBouncer:
    """One process; it ends with the `with` block."""

    def __init__(self, postgres: PostgresServer, *, server_connections: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sync-pgbouncer-"))
        self._folder.chmod(0o755)
        self._user = None
        if os.geteuid() == 0:
            self._user = pwd.getpwnam(ORDINARY_USER).pw_uid
            os.chown(self._folder, self._user, -1)
        (self._folder / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                server_port=postgres.port, port=PORT, folder=self._folder, server_connections=server_connections
            )
        )

    def url(self, database: str) -> str:
        """The URL of a database behind it."""
        return f"postgresql://postgres@/{database}?host={self._folder}&port={PORT}"

    def __enter__(self) -> "PgBouncer":
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "pgbouncer is missing (Debian: apt-get install pgbouncer)"
        command = [program, "--quiet", str(self._folder / "pgbouncer.ini")]
        self._process = subprocess.Popen(command, user=self._user, cwd="/", stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not (self._folder / f".s.PGSQL.{PORT}").exists():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.terminate()
        self._process.wait(START_DEADLINE_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
async def pooled(postgres: PostgresServer, database_url: str, make_settings: MakeSettings) -> AsyncIterator[Database]:
    """The migrated database behind PgBouncer."""
    with PgBouncer(postgres, server_connections=SERVER_CONNECTIONS) as bouncer:
        url = bouncer.url(database_url.rpartition("/")[2])
        database = Database(make_settings(database_url=url, database_prepared_statements=False))
        yield database
        await database.close()


async def count_statements(database: Database) -> dict[int, int]:
    """The prepared statements of each server connection."""
    all_have_one = asyncio.Barrier(SERVER_CONNECTIONS)

    async def look() -> tuple[int, int]:
        async with database.transaction() as session:
            pid, number = (await session.execute(text(STATEMENTS))).one()
            await all_have_one.wait()
            return pid, number

    return dict(await asyncio.gather(*(look() for _ in range(SERVER_CONNECTIONS))))


async def test_server_connections_keep_no_prepared_statements(pooled: Database) -> None:
    for number in range(20):
        await asyncio.gather(*(add_events(pooled, (uuid4(), "upload")) for _ in range(5)))
        await asyncio.gather(*(read_ledger(pooled) for _ in range(2)), make_sweeper(pooled).run_once())
        async with pooled.read() as session:
            assert await session.scalar(text(f"SELECT {number}")) == number
    events = await read_ledger(pooled)
    assert [event.position for event in events] == list(range(1, 101))
    counts = await count_statements(pooled)
    assert len(counts) == SERVER_CONNECTIONS
    assert set(counts.values()) == {0}
