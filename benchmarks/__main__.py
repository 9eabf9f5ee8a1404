"""`python -m benchmarks`: measures, prints the table, and writes results.json, the plots and the page."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.catalog import EXPERIMENTS
from benchmarks.compare import compare
from benchmarks.load import LoadFailed, find_wrk
from benchmarks.measure import measure
from benchmarks.model import Results, Violation
from benchmarks.page import write_page
from benchmarks.plan import FULL, QUICK
from benchmarks.plots import draw
from benchmarks.profile import PROFILE, measure_profile
from benchmarks.report import PARTIAL, RESULTS, ROOT, load_results, print_table, save_results

HELP = "report: write the page and the plots again; profile: measure with py-spy how a worker spends its time"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit status: 1 when the service broke a promise or the load failed."""
    options = _parse(arguments)
    console = Console()
    if options.list:
        for experiment in EXPERIMENTS:
            console.print(f"{experiment.name}: {', '.join(row.name for row in experiment.rows)}")
        return 0
    if options.command == "report":
        _publish(load_results(), console)
        return 0
    if options.command == "profile":
        PROFILE.write_text(measure_profile(FULL).model_dump_json(indent=2) + "\n")
        _publish(load_results(), console)
        return 0
    try:
        find_wrk()
        if options.compare:
            compare(options.compare, options.only or [], console)
        else:
            _run(options, console)
    except (LoadFailed, Violation) as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        return 1
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    """Measure the chosen experiments, and store and show the results."""
    chosen = [one for one in EXPERIMENTS if not options.only or one.name in options.only]
    plan = QUICK if options.quick else FULL
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    results = measure(chosen, plan, console)
    print_table(console, results.rows)
    is_whole = not options.only and not options.quick
    output = options.output or (RESULTS if is_whole else PARTIAL)
    save_results(results, output)
    console.print(f"{results.seconds:.0f} seconds; every figure is in {output}")
    if output == RESULTS:
        _publish(results, console)


def _publish(results: Results, console: Console) -> None:
    """Draw the plots and write the page."""
    for path in (*draw(results), write_page(results)):
        console.print(f"written: {path.relative_to(ROOT)}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the service side by side.")
    parser.add_argument("command", nargs="?", choices=("run", "report", "profile"), default="run", help=HELP)
    names = [experiment.name for experiment in EXPERIMENTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="only these experiments; see --list")
    parser.add_argument("--rounds", type=int, help=f"rounds of each experiment (default: {FULL.rounds})")
    parser.add_argument("--compare", metavar="COMMIT", help="run this version and another in turns, three times")
    parser.add_argument("--quick", action="store_true", help="shorter and smaller, and less precise")
    parser.add_argument("--list", action="store_true", help="list the experiments with their rows")
    parser.add_argument("--output", type=Path, help="where the results go")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
