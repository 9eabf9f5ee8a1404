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

from tests.support.postgres import free_port

ROOT = Path(__file__).parents[2]
START_DEADLINE_SECONDS = 30


class ServiceProcess:
    """One replica. `url` is where it answers; `command` runs in Python, `{port}` in it is the port."""

    def __init__(
        self, environment: dict[str, str], log: Path, command: Sequence[str] = ("app", "serve", "--port", "{port}")
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *(part.format(port=self.port) for part in command)],
                env={**os.environ, **environment},
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )

    def wait_until_healthy(self) -> None:
        """Return once `/health` answers 200."""
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start: {self.output()}")
            try:
                if httpx.get(f"{self.url}/health", timeout=2).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(0.05)

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

    def wait(self, timeout_seconds: float = 20) -> int:
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
