"""One whole run: experiments on a bench of their own, and their results."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console

from benchmarks.bench import Bench
from benchmarks.experiments import growth
from benchmarks.machine import describe_machine, list_versions, postgresql_settings
from benchmarks.model import Experiment, Results, Round
from benchmarks.plan import Plan
from benchmarks.runner import judge, run_experiment
from benchmarks.services.fastify import why_missing
from tests.support.fork_server import ForkServer


def measure(
    experiments: Sequence[Experiment], plan: Plan, console: Console, fork_server: ForkServer | None = None
) -> Results:
    """Run `experiments` and return their results; for `fork_server` see `Bench`.

    Raises:
        LoadFailed: when wrk is missing or fails.
        Violation: when the service broke a promise.
    """
    started = time.monotonic()
    machine = describe_machine()
    rounds: dict[str, list[Round]] = {}
    with (
        console.status("starting PostgreSQL") as status,
        Bench(plan, needs_large_store=growth.EXPERIMENT in experiments, fork_server=fork_server) as bench,
    ):

        def note(what: str) -> None:
            status.update(f"{time.monotonic() - started:4.0f} s  {what}")

        if reason := why_missing():
            console.print(f"[yellow]rows compared with Fastify are left out: {reason}[/yellow]", soft_wrap=True)
        for experiment in experiments:
            begun = time.monotonic()
            rounds[experiment.name] = run_experiment(experiment, bench, note)
            for row in judge([experiment], rounds):
                console.print(f"{row.name}: {row.value:.2f} ({time.monotonic() - begun:.0f} s)", highlight=False)
        versions = list_versions(bench)
    return Results(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        command=shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        seconds=round(time.monotonic() - started, 1),
        plan=asdict(plan),
        machine=machine,
        versions=versions,
        postgresql_settings=postgresql_settings(),
        rows=judge(experiments, rounds),
        rounds={name: [{side: dict(f) for side, f in one.items()} for one in each] for name, each in rounds.items()},
    )
