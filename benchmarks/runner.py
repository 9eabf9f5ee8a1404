"""Runs experiments: every side of one in turn, round by round."""

from collections.abc import Callable, Sequence

from benchmarks.bench import Bench
from benchmarks.model import Experiment, Figures, Round, RowResult

Note = Callable[[str], None]


def run_experiment(experiment: Experiment, bench: Bench, note: Note) -> list[Round]:
    """Measure the sides A B A B …; `note` is called before each measurement and with its result."""
    rounds: list[Round] = []
    number = experiment.rounds or bench.plan.rounds
    note(f"{experiment.name}: preparing")
    with experiment.open(bench) as sides:
        bench.wait_until_healthy()
        for current in range(1, number + 1):
            figures: dict[str, Figures] = {}
            for name, measure in sides.items():
                note(f"{experiment.name}: {name}, round {current} of {number}")
                figures[name] = measure()
            rounds.append(figures)
    return rounds


def judge(experiments: Sequence[Experiment], rounds: dict[str, list[Round]]) -> list[RowResult]:
    """The rows of the table, except those of sides that could not be measured here."""
    return [
        RowResult.of(row, rounds[one.name])
        for one in experiments
        for row in one.rows
        if one.name in rounds and {row.ours.side, row.baseline.side} <= rounds[one.name][0].keys()
    ]
