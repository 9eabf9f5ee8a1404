"""Compares this version with another commit: both run the same experiments in turns."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.load import LoadFailed
from benchmarks.model import RowResult
from benchmarks.report import ROOT, load_results, number

TURNS = 3
HEADINGS = ("row", "then", "now", "now / then", "met then", "met now")


def compare(reference: str, experiments: Sequence[str], console: Console) -> None:
    """Run `experiments` of the commit `reference` and of this version in turns, and print each row that both have.

    Each version is measured by its own benchmarks, with the packages of this Python. A rate that rises is a ratio
    above 1; a time or a size that rises is, too.

    Raises:
        LoadFailed: git does not know the commit, or a run fails; with the reason.
    """
    then: list[dict[str, RowResult]] = []
    now: list[dict[str, RowResult]] = []
    with _checked_out(reference) as other:
        for turn in range(1, TURNS + 1):
            for folder, found in ((other, then), (ROOT, now)):
                console.print(f"turn {turn} of {TURNS}: {reference if folder == other else 'this version'}")
                found.append(_run(folder, experiments))
    table = Table(*HEADINGS)
    for name in now[0]:
        if all(name in one for one in then):
            table.add_row(name, *compare_row([one[name] for one in then], [one[name] for one in now]))
    console.print(table)


def compare_row(then: Sequence[RowResult], now: Sequence[RowResult]) -> tuple[str, ...]:
    """The cells of one row, in the order of `HEADINGS` after the name: medians of the turns."""
    before, after = ([median(one.ours) for one in turns] for turns in (then, now))
    ratio = median(mine / theirs for mine, theirs in zip(after, before, strict=True))
    unit = now[0].unit
    return f"{number(median(before))} {unit}", f"{number(median(after))} {unit}", f"{ratio:.2f}", _met(then), _met(now)


def _met(turns: Sequence[RowResult]) -> str:
    """Whether the median of the comparisons meets the target of that version."""
    target = turns[0].target
    if target is None:
        return ""
    return "yes" if target.is_met(median(one.value for one in turns)) else "no"


@contextmanager
def _checked_out(reference: str) -> Iterator[Path]:
    """A folder with the files of the commit, as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="sync-compare-") as parent:
        folder = Path(parent) / "tree"
        _call(["git", "worktree", "add", "--detach", str(folder), reference], ROOT)
        try:
            yield folder
        finally:
            _call(["git", "worktree", "remove", "--force", str(folder)], ROOT)


def _run(folder: Path, experiments: Sequence[str]) -> dict[str, RowResult]:
    with tempfile.TemporaryDirectory(prefix="sync-compare-") as parent:
        output = Path(parent) / "results.json"
        only = ["--only", *experiments] if experiments else []
        _call([sys.executable, "-m", "benchmarks", *only, "--output", str(output)], folder)
        return {row.name: row for row in load_results(output).rows}


def _call(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
