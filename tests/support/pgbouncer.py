"""A real PgBouncer in transaction mode, before a PostgreSQL of a test."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.postgres import ORDINARY_USER, START_DEADLINE_SECONDS, PostgresServer

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
