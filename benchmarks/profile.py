"""How a worker spends its time: py-spy on the service under load, its samples by part of the code."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from benchmarks.bench import Bench
from benchmarks.experiments import append, batch, get
from benchmarks.load import LoadFailed
from benchmarks.model import Experiment
from benchmarks.plan import Plan
from benchmarks.report import ROOT
from benchmarks.side import LoadSide

PROFILE = ROOT / "benchmarks" / "profile.json"

SECONDS = 10
RATE_PER_SECOND = 100
WORKS: Mapping[str, Experiment] = {
    "POST one event": append.EXPERIMENT,
    "POST batches of 500": batch.EXPERIMENT,
    "GET one event": get.EXPERIMENT,
}
# The part of a sample: that of its innermost frame that belongs to any part. A path matches by one of these beginnings.
PARTS: Mapping[str, tuple[str, ...]] = {
    "body: reading, strict JSON, validation": (
        "app/http/body",
        "app/http/strict_json",
        "app/events/schemas",
        "pydantic",
        "json/",
    ),
    "database: ledger, SQLAlchemy, asyncpg": (
        "app/database/",
        "app/events/ledger",
        "app/events/group",
        "app/events/event_reader",
        "app/events/repository",
        "sqlalchemy/",
        "asyncpg/",
    ),
    "HTTP and the event loop": ("uvicorn/", "asyncio/", "app/http/protocol", "app/server"),
    "the call of the endpoint, and its response": ("app/auth/route", "app/events/", "uuid"),
    "token, permission, rate": ("app/auth/", "jose/", "cachetools"),
    "request id, metrics, limits, log": (
        "app/http/",
        "app/log/",
        "app/metrics",
        "prometheus_client/",
        "structlog/",
        "logging",
    ),
    "FastAPI and Starlette": ("fastapi/", "starlette/"),
}
OTHER = "other"
_FRAME = re.compile(r"\((?P<file>[^()]+?)(:\d+)?\)$")


class Profile(BaseModel):
    """Shares of the samples by part, for each work; they add up to 1."""

    date: str
    seconds: int
    works: dict[str, dict[str, float]]


def measure_profile(plan: Plan) -> Profile:
    """Run each work under load while py-spy samples it."""
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with Bench(replace(plan, load_seconds=SECONDS + 1)) as bench:
        works = {work: _look_at(bench, experiment) for work, experiment in WORKS.items()}
    return Profile(date=date, seconds=SECONDS, works=works)


def load_profile() -> Profile:
    """The profile of an earlier run."""
    return Profile.model_validate_json(PROFILE.read_text())


def _look_at(bench: Bench, experiment: Experiment) -> dict[str, float]:
    samples = bench.folder / f"{experiment.name}.samples"
    with experiment.open(bench) as sides:
        side = sides["service"]
        assert isinstance(side, LoadSide)  # noqa: S101 - of these works it is
        bench.wait_until_healthy()
        side.run(bench.plan.warm_up_seconds)
        command = ["record", "--nonblocking", "--format", "raw", "--rate", str(RATE_PER_SECOND)]
        target = ["--duration", str(SECONDS), "--pid", str(side.service.pid), "--output", str(samples)]
        spy = Path(sys.executable).with_name("py-spy")
        with subprocess.Popen(
            [spy, *command, *target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            side.run(bench.plan.load_seconds)
            if process.wait():
                raise LoadFailed("py-spy could not sample the service; it needs the right to trace processes")
    lines = (line.rpartition(" ") for line in samples.read_text().splitlines())
    return share_parts((stack.split(";"), int(number)) for stack, _, number in lines)


def share_parts(stacks: Iterable[tuple[Sequence[str], int]]) -> dict[str, float]:
    """The share of each part in samples, given as stacks from the outermost frame inwards and how often each came."""
    counts: Counter[str] = Counter()
    for frames, number in stacks:
        counts[_part(frames)] += number
    total = counts.total() or 1
    return {part: counts[part] / total for part in (*PARTS, OTHER) if counts[part]}


def _part(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        match = _FRAME.search(frame)
        for part, beginnings in PARTS.items():
            if match and match["file"].startswith(beginnings):
                return part
    return OTHER
