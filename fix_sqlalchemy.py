"""Compares SQLAlchemy, greenlet and the database drivers with the versions pinned for this service, and repairs them.

`--check` only reports. Nothing but the standard library is needed, so that this runs where SQLAlchemy does not, and it
can be read by Pythons that are too old for the service, so that it can tell them so.

Exit status: 0 all is well, or was repaired; 1 something is off, or could not be repaired; 2 wrong usage, or the pinned
versions cannot be read.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

LOCK_FILE = Path(__file__).resolve().parent / "requirements" / "runtime.txt"
# Package, and what to import to load what matters of it: its compiled parts, or what the service uses.
PACKAGES = {
    "sqlalchemy": "sqlalchemy.ext.asyncio",
    "greenlet": "greenlet",
    "aiosqlite": "aiosqlite",
    "asyncpg": "asyncpg",
    "alembic": "alembic.command",
}
MINIMUM_PYTHON = "3.11"
MINIMUM_SQLITE = "3.35"  # the first with RETURNING
OK, MISSING, OTHER, TOO_OLD, BROKEN = "ok", "missing", "another version", "too old", "cannot be imported"
PROBE_SECONDS = 60
PROBE = """
import importlib, importlib.metadata, sys
try:
    print(importlib.metadata.version(sys.argv[1]), flush=True)
except importlib.metadata.PackageNotFoundError:
    sys.exit()
importlib.import_module(sys.argv[2])
"""


class LockError(Exception):
    """The pinned versions cannot be read; the message says why."""


class Pin(NamedTuple):
    """A pinned version, and its whole requirement with marker and hashes, as pip reads it."""

    version: str
    requirement: str


class Finding(NamedTuple):
    """What was found of a package or library. `verdict` is one of the words above, `detail` may say more."""

    name: str
    installed: str
    wanted: str
    verdict: str
    detail: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="report only, change nothing")
    options = parser.parse_args(arguments)
    try:
        pins = read_pins(LOCK_FILE)
    except LockError as error:
        print(f"fix_sqlalchemy: {error}", file=sys.stderr)
        return 2
    findings = examine(pins)
    print_table(findings)
    if all_well(findings):
        return 0
    if any(finding.verdict == TOO_OLD for finding in findings):
        print(f"\nPython {MINIMUM_PYTHON} is needed, built with SQLite {MINIMUM_SQLITE}, or newer.")
        return 1
    if options.check:
        print("\nSomething is off; `python fix_sqlalchemy.py` repairs it.")
        return 1
    findings = repair(pins, findings)
    print()
    print_table(findings)
    if all_well(findings):
        print("\nRepaired.")
        return 0
    print("\nSomething is still off; `pip install -r requirements.txt` in a new virtual environment may help.")
    return 1


def read_pins(path: Path) -> dict[str, Pin]:
    """The pins of `PACKAGES` that apply to this machine, from a lock file with hashes as pip and uv know it.

    Raises:
        LockError: the file cannot be read, or lacks one of the packages.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"{path} cannot be read: {error}") from error
    pins: dict[str, Pin] = {}
    seen = set()
    for requirement in re.sub(r"\\\r?\n", " ", text).splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?==([^\s;]+)\s*(?:;(.*?))?\s--hash=", requirement)
        if not match:
            continue
        name = re.sub(r"[._-]+", "-", match[1]).lower()
        seen.add(name)
        if name in PACKAGES and name not in pins and marker_applies(match[3]):
            pins[name] = Pin(match[2], requirement)
    if lacking := PACKAGES.keys() - seen:
        raise LockError(f"{path} has no version with hashes of {', '.join(sorted(lacking))}")
    return pins


def marker_applies(marker: str | None) -> bool:
    """Whether an environment marker (PEP 508) is true here. Without pip nobody can tell, and yes is assumed."""
    if not marker:
        return True
    try:
        markers = importlib.import_module("pip._vendor.packaging.markers")
    except ImportError:
        return True
    return bool(markers.Marker(marker.strip()).evaluate())


def examine(pins: dict[str, Pin]) -> list[Finding]:
    """Look at Python, SQLite and every pinned package; each package in a process of its own, since it may crash."""
    with ThreadPoolExecutor() as executor:
        packages = list(executor.map(_examine_package, pins, pins.values()))
    return [
        _examine_version("python", platform.python_version(), MINIMUM_PYTHON),
        _examine_version("sqlite", _sqlite_version(), MINIMUM_SQLITE),
        *packages,
    ]


def _examine_package(name: str, pin: Pin) -> Finding:
    command = [sys.executable, "-c", PROBE, name, PACKAGES[name]]
    try:
        # Not from the current folder: its own `alembic/` would pass for the package.
        probe = subprocess.run(  # noqa: S603 - the command is ours
            command, capture_output=True, text=True, check=False, timeout=PROBE_SECONDS, cwd=sys.prefix
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "?", pin.version, BROKEN, "it takes too long")
    installed = probe.stdout.partition("\n")[0].strip()
    if not installed:
        return Finding(name, "-", pin.version, MISSING)
    if installed != pin.version:
        return Finding(name, installed, pin.version, OTHER)
    if probe.returncode == 0:
        return Finding(name, installed, pin.version, OK)
    last_line = (probe.stderr.strip().splitlines() or [f"status {probe.returncode}"])[-1]
    detail = f"crash by signal {-probe.returncode}" if probe.returncode < 0 else last_line
    return Finding(name, installed, pin.version, BROKEN, detail)


def _examine_version(name: str, installed: str, minimum: str) -> Finding:
    verdict = OK if _numbers(installed) >= _numbers(minimum) else TOO_OLD
    return Finding(name, installed, f">={minimum}", verdict)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _sqlite_version() -> str:
    try:
        return str(importlib.import_module("sqlite3").sqlite_version)
    except ImportError:
        return "-"


def all_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is off."""
    return all(finding.verdict == OK for finding in findings)


def repair(pins: dict[str, Pin], findings: list[Finding]) -> list[Finding]:
    """Install what is missing or of another version, then install anew what still cannot be imported.

    Returns the findings after that. Two rounds, because one package may fail only for the sake of another.
    """
    for verdicts, more in (({MISSING, OTHER}, []), ({BROKEN}, ["--force-reinstall", "--no-cache-dir"])):
        off = [finding.name for finding in findings if finding.name in pins and finding.verdict in verdicts]
        if off:
            _install([pins[name] for name in off], more)
            findings = examine(pins)
    return findings


def _install(pins: Iterable[Pin], more: list[str]) -> None:
    """Let pip install exactly these, and say what it has to say."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("\n".join(pin.requirement for pin in pins) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps", *more]
        print(f"\n{' '.join(command)} …", flush=True)
        subprocess.run([*command, "-r", str(requirements)], check=False)  # noqa: S603 - the command is ours


def print_table(findings: Iterable[Finding]) -> None:
    """One aligned line for each finding."""
    rows = [("package", "installed", "pinned", "verdict")]
    for finding in findings:
        verdict = f"{finding.verdict}: {finding.detail}" if finding.detail else finding.verdict
        rows.append((finding.name, finding.installed, finding.wanted, verdict))
    name, installed, wanted = (max(len(row[column]) for row in rows) for column in range(3))
    for row in rows:
        print(f"{row[0]:<{name}}  {row[1]:<{installed}}  {row[2]:<{wanted}}  {row[3]}")


if __name__ == "__main__":
    raise SystemExit(main())
