"""Forks service processes from one that has imported the service, which spares each of them most of its start."""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
PR_SET_CHILD_SUBREAPER = 36


class ForkedProcess:
    """A child of this process, with those methods of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative after a signal; None while the process runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: when it does not end in time.
        """
        if self._status is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                select.select([descriptor], [], [], timeout)
            finally:
                os.close(descriptor)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Use as a context manager. The processes that it starts are children of this process, as any others."""

    def __init__(self) -> None:
        # The first parent of a new process ends at once; this makes us the second.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._server:
            assert self._server.stdin
            self._server.stdin.close()

    def start(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        output: Path,
        errors: Path | None = None,
        folder: Path = ROOT,
    ) -> ForkedProcess:
        """Run a module in `folder` as `python -m` does, `command` being its name and arguments.

        What it prints goes to `output`, and its errors to `errors` or to the same file.
        """
        assert self._server.stdin
        assert self._server.stdout
        outputs = (output, errors or output)
        for path in outputs:
            path.write_bytes(b"")  # so that it can be read at once
        request = {
            "command": list(command),
            "environment": environment,
            "outputs": [str(path) for path in outputs],
            "folder": str(folder),
        }
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        return ForkedProcess(int(self._server.stdout.readline()))

    def run(
        self, command: Sequence[str], environment: dict[str, str], timeout_seconds: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run a module to its end.

        Raises:
            subprocess.TimeoutExpired: when it does not end in time; it is killed then.
        """
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            process = self.start(command, environment, output, errors)
            try:
                status = process.wait(timeout_seconds)
            finally:
                process.kill()
            return subprocess.CompletedProcess(list(command), status, output.read_text(), errors.read_text())
