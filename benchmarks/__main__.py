"""`python -m benchmarks`: measures, prints the table, and writes results.json, the plots and the page."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.bench import Bench
from benchmarks.catalog import EXPERIMENTS
from benchmarks.experiments import growth
from benchmarks.load import LoadFailed, find_wrk
from benchmarks.machine import describe_machine, list_versions, postgresql_settings
from benchmarks.model import Experiment, Results, Round, Violation
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.report import RESULTS, print_table, save_results
from benchmarks.runner import judge, run_experiment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit status: 1 when the service broke a promise or the load could not be made."""
    options = _parse(arguments)
    console = Console()
    if options.list:
        for experiment in EXPERIMENTS:
            console.print(f"{experiment.name}: {', '.join(row.name for row in experiment.rows)}")
        return 0
    chosen = [one for one in EXPERIMENTS if not options.only or one.name in options.only]
    plan = QUICK if options.quick else FULL
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    try:
        find_wrk()
        results = measure(chosen, plan, console)
    except (LoadFailed, Violation) as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        return 1
    print_table(console, results.rows)
    save_results(results, options.output)
    console.print(f"{results.seconds:.0f} seconds; every figure is in {options.output}")
    return 0


def measure(experiments: Sequence[Experiment], plan: Plan, console: Console) -> Results:
    """Run `experiments` and say what came of them.

    Raises:
        LoadFailed: when wrk is missing or fails.
        Violation: when the service broke a promise.
    """
    started = time.monotonic()
    machine = describe_machine()
    rounds: dict[str, list[Round]] = {}
    with (
        console.status("starting PostgreSQL") as status,
        Bench(plan, needs_large_store=growth.EXPERIMENT in experiments) as bench,
    ):

        def note(what: str) -> None:
            status.update(f"{time.monotonic() - started:4.0f} s  {what}")

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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the service side by side.")
    names = [experiment.name for experiment in EXPERIMENTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="only these experiments; see --list")
    parser.add_argument("--rounds", type=int, help=f"rounds of each experiment (default: {FULL.rounds})")
    parser.add_argument("--quick", action="store_true", help="shorter and smaller; says less")
    parser.add_argument("--list", action="store_true", help="list the experiments with their rows")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results go")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
