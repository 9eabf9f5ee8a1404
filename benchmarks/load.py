"""Load from a process of its own: wrk with one thread, driven by `load.lua`."""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

SCRIPT = Path(__file__).with_name("load.lua")
MISSING = "wrk is missing; install Debian's package: apt-get install wrk"


class LoadFailed(Exception):
    """wrk is missing, or failed."""


class LoadResult(BaseModel):
    """The result of wrk. Latencies are from sending a request to the end of its response."""

    seconds: float
    succeeded: int
    failed: int
    socket_errors: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @property
    def per_second(self) -> float:
        """Successful requests per second."""
        return self.succeeded / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests to send: POSTs of unique events, or of batches of `batch` of them, or GETs with a line of `reads`.

    Requests take the tokens of the file `tokens`, one a line, in turn. Each connection sends its next request after the
    last response, or after a pause of `delay_ms` on average, evenly spread between none and twice that.
    """

    path: str
    tokens: Path
    connections: int
    batch: int = 0
    reads: Path | None = None
    delay_ms: int = 0

    def run(self, url: str, seconds: int, ids: Path | None = None) -> LoadResult:
        """Send requests to `url` for so long; the ids of 201 responses go to the file `ids`, one a line.

        Raises:
            LoadFailed: when wrk is missing or fails.
        """
        variables = {
            "BENCH_TOKENS": str(self.tokens),
            "BENCH_SEED": str(secrets.randbits(48)),
            "BENCH_BATCH": str(self.batch),
            "BENCH_DELAY_MS": str(self.delay_ms),
        }
        variables |= {"BENCH_READS": str(self.reads)} if self.reads else {}
        variables |= {"BENCH_IDS": str(ids)} if ids else {}
        arguments = ("-t1", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT))
        done = subprocess.run(
            [find_wrk(), *arguments, f"{url}{self.path}"],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LoadFailed(f"wrk failed: {done.stdout}{done.stderr}")
        return LoadResult.model_validate_json(done.stdout.splitlines()[-1])


def find_wrk() -> str:
    """The path of wrk.

    Raises:
        LoadFailed: with the command that installs it.
    """
    path = shutil.which("wrk")
    if path is None:
        raise LoadFailed(MISSING)
    return path
