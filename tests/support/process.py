"""The service as a real process: uvicorn on a loopback port."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.support.postgres import free_port

ROOT = Path(__file__).parents[2]
START_DEADLINE_SECONDS = 30


class ServiceProcess:
    """One replica. `url` is where it answers."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(self.port)],
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

    def kill(self) -> None:
        """End as a power cut does; nothing happens when it has ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
