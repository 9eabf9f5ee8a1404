"""Checks of a whole source: their speed against a plain loop, their memory, and their effect on a POST."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from benchmarks.bench import ALONE, QUIET, Bench
from benchmarks.database import PostgresStore
from benchmarks.deliveries import SETTINGS
from benchmarks.experiments.half_peak import slow_down
from benchmarks.experiments.post import single_posts
from benchmarks.fill import fill_files
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target, Violation
from benchmarks.side import THOUSAND, LoadSide
from benchmarks.usage import cpu_seconds, resident_mib
from tests.support.process import ServiceProcess

RATE = "events_per_second"
SAMPLE_SECONDS = 0.2
NO_PACE = {"CONSISTENCY_FILES_PER_SECOND": "0"}


@dataclass(kw_only=True)
class Checks:
    """Checks of an owner of `files` files, by the service over HTTP."""

    bench: Bench
    service: ServiceProcess
    owner: ServiceProcess
    files: int
    source: str = ""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The response of the service."""
        headers = {"Authorization": f"Bearer {self.bench.token}"}
        return httpx.request(method, f"{self.service.url}{path}", json=body, headers=headers).raise_for_status().json()

    def begin(self) -> str:
        """Begin a check and return its path."""
        if not self.source:
            new = {"name": "owner", "kind": "contract", "url": f"{self.owner.url}/{self.files}"}
            self.source = self.ask("POST", "/consistency/sources", new)["id"]
        check = self.ask("POST", "/consistency/checks", {"source": self.source, "scope": {"all": True}})
        return f"/consistency/checks/{check['id']}"

    def run(self) -> tuple[float, float]:
        """Run a check to its end; the seconds that it took, and the highest memory meanwhile in MiB.

        Raises:
            Violation: when it has not compared every file, or has found a difference.
        """
        path, highest = self.begin(), 0.0
        while (check := self.ask("GET", path))["state"] == "running":
            highest = max(highest, resident_mib(self.service.pid))
            time.sleep(SAMPLE_SECONDS)
        if (check["state"], check["compared"], check["counts"]) != ("complete", self.files, {}):
            raise Violation(f"a check of {self.files} equal files gave {check}")
        started, ended = (datetime.fromisoformat(check[name]) for name in ("started_at", "ended_at"))
        return (ended - started).total_seconds(), highest


@dataclass(kw_only=True)
class CheckSide:
    """A check alone."""

    checks: Checks

    def __call__(self) -> Figures:
        """Measure once."""
        pids = {"service": self.checks.service.pid, "postgres": self.checks.bench.postgres.pid}
        idle, used = resident_mib(pids["service"]), {name: cpu_seconds(pid) for name, pid in pids.items()}
        seconds, highest = self.checks.run()
        spent = {name: cpu_seconds(pid) - used[name] for name, pid in pids.items()}
        per_thousand = {
            f"{name}_cpu_seconds_per_1000": each / self.checks.files * THOUSAND for name, each in spent.items()
        }
        return {RATE: self.checks.files / seconds, "idle_mib": idle, "peak_mib": highest, **per_thousand}


@dataclass(kw_only=True)
class LoopSide:
    """A plain loop over both listings, in a process of its own."""

    bench: Bench
    store: PostgresStore
    owner: ServiceProcess
    files: int

    def __call__(self) -> Figures:
        """Measure once."""
        url = f"{self.owner.url}/{self.files}"
        said = json.loads(self.bench.python("benchmarks.compare_loop", self.store, url))
        if (said["files"], said["differences"]) != (self.files, 0):
            raise Violation(f"the loop over {self.files} equal files gave {said}")
        per_thousand = said["cpu_seconds"] / self.files * THOUSAND
        return {RATE: self.files / said["seconds"], "service_cpu_seconds_per_1000": per_thousand}


@dataclass(kw_only=True)
class Posts:
    """POSTs at half of the peak load, without a check and beside one."""

    side: LoadSide
    checks: Checks

    def alone(self) -> Figures:
        """Measure without a check, after finding the load."""
        peak = slow_down(self.side)
        return {**self.side(), "peak_per_second": peak}

    def beside_check(self) -> Figures:
        """Measure with the same load while a check runs."""
        path = self.checks.begin()
        figures = self.side()
        cancelled = self.checks.ask("POST", f"{path}/cancel")
        return {**figures, "compared": cancelled["compared"]}


@contextmanager
def open_speed(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """A service with many files, and the loop on the same database."""
    files = bench.plan.checked_files
    with bench.postgres_store() as store, bench.owner(store) as owner:
        fill_files(store, files)
        with bench.service(store, **ALONE, **SETTINGS, **NO_PACE) as service:
            checks = Checks(bench=bench, service=service, owner=owner, files=files)
            loop = LoopSide(bench=bench, store=store, owner=owner, files=files)
            yield {"check": CheckSide(checks=checks), "loop": loop}


@contextmanager
def open_memory(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """A service with very many files."""
    files = bench.plan.many_files
    with bench.postgres_store() as store, bench.owner(store) as owner:
        fill_files(store, files)
        with bench.service(store, **ALONE, **SETTINGS, **NO_PACE) as service:
            yield {"check": CheckSide(checks=Checks(bench=bench, service=service, owner=owner, files=files))}


@contextmanager
def open_posts(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """A service with many files and the default pace."""
    files = bench.plan.checked_files
    with bench.postgres_store() as store, bench.owner(store) as owner:
        fill_files(store, files)
        with bench.service(store, **QUIET, **SETTINGS) as service:
            side = LoadSide(bench=bench, service=service, store=store, load=single_posts(bench), rows=files)
            posts = Posts(side=side, checks=Checks(bench=bench, service=service, owner=owner, files=files))
            yield {"alone": posts.alone, "beside": posts.beside_check}


EXPERIMENTS = (
    Experiment(
        name="consistency-files",
        open=open_speed,
        rows=(
            Row(
                name="consistency-files",
                work="check of a whole source with sizes, PostgreSQL, 1 worker, no pace",
                compared="a plain loop over the same listing and one query, which stores nothing",
                unit="files/s",
                ours=Pick("check", RATE),
                baseline=Pick("loop", RATE),
                target=Target(kind="at least", bound=0.5),
                limit="Python and PostgreSQL in turn; the cursor and the counts are committed with each page",
            ),
        ),
    ),
    Experiment(
        name="consistency-memory",
        open=open_memory,
        rounds=1,
        rows=(
            Row(
                name="consistency-memory",
                work="highest memory of the service during a check of 1,000,000 files (small: 50,000)",
                compared="idle, before",
                unit="MiB",
                comparison="difference",
                ours=Pick("check", "peak_mib"),
                baseline=Pick("check", "idle_mib"),
                target=Target(kind="at most", bound=32),
                limit="one page of the listing, and the part of it that is compared at once",
            ),
        ),
    ),
    Experiment(
        name="consistency-p99",
        open=open_posts,
        rounds=5,
        rows=(
            Row(
                name="consistency-p99",
                work="99th percentile of POST one event at half of the peak load, during a check at its default pace",
                compared="the same without the check",
                unit="ms",
                ours=Pick("beside", "p99_ms"),
                baseline=Pick("alone", "p99_ms"),
                target=Target(kind="at most", bound=2),
                limit="the event loop and the core that requests share with the check",
            ),
        ),
    ),
)
