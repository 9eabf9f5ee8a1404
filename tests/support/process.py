"""The service as a real process on a loopback port."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from tests.support.fork_server import ForkServer
from tests.support.ports import ReservedPort

ROOT = Path(__file__).parents[2]
START_DEADLINE_SECONDS = 100
SERVE = ("app", "serve", "--port", "{port}")


class ServiceProcess:
    """One replica. `url` is where it answers; `command` runs in Python, `{port}` in it is the port.

    With a `fork_server` it is forked from a process that has imported the service; without, a Python of its own runs.
    """

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        command: Sequence[str] = SERVE,
        fork_server: ForkServer | None = None,
        folder: Path = ROOT,
    ) -> None:
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        arguments = [part.format(port=self.port) for part in command]
        everything = {**os.environ, **environment}
        self._process = (
            fork_server.start(arguments, everything, log, folder=folder)
            if fork_server
            else _run_python(arguments, everything, log)
        )

    def wait_until_healthy(self) -> None:
        """Return once `/health` answers 200."""
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        with httpx.Client(base_url=self.url, timeout=2, verify=False) as client:  # noqa: S501 - there is no TLS here
            while True:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the service did not start: {self.output()}")
                try:
                    if client.get("/health").status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def output(self) -> str:
        """Everything the process has printed."""
        return self._log.read_text()

    def limit_file_size(self, size_bytes: int) -> None:
        """Let the process write no file beyond this size, as on a full disk."""
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(signal_number)

    def wait(self, timeout_seconds: float = 60) -> int:
        """Wait for the end and return the exit status."""
        return self._process.wait(timeout_seconds)

    def end(self) -> int:
        """Ask for an orderly end, wait for it, and return the exit status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End as a power cut does; nothing happens when it has ended."""
        if self._process.poll() is None:
            workers = psutil.Process(self.pid).children(recursive=True)
            self._process.kill()
            self._process.wait()
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()


def _run_python(command: Sequence[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, cwd=ROOT, stdout=output, stderr=output
        )
