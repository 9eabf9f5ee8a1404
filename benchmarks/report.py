"""Shows results: as a table on the terminal, and as Markdown in docs/performance.md."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.model import Results, RowResult

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PARTIAL = RESULTS.with_name("partial.json")  # of a run that is not the whole one
HEADINGS = ("work", "compared with", "ours", "other", "comparison", "target", "met")


def load_results(path: Path = RESULTS) -> Results:
    """The results of an earlier run."""
    return Results.model_validate_json(path.read_text())


def save_results(results: Results, path: Path) -> None:
    """Keep `results` as JSON."""
    path.write_text(results.model_dump_json(indent=2) + "\n")


def cells(row: RowResult) -> tuple[str, ...]:
    """One row of the table, in the order of `HEADINGS`; figures are medians of the rounds."""
    return (
        row.work,
        row.compared,
        f"{number(median(row.ours))} {row.unit}",
        f"{number(median(row.baseline))} {row.unit}",
        comparison(row, row.value),
        "none" if row.target is None else f"{row.target.kind} {comparison(row, row.target.bound)}",
        {None: "", True: "yes", False: "no"}[row.met],
    )


def comparison(row: RowResult, value: float) -> str:
    """`value` as a ratio, or as a difference in the row's unit."""
    return f"{value:.2f}\N{MULTIPLICATION SIGN}" if row.comparison == "ratio" else f"{value:+.0f} {row.unit}"


def number(value: float) -> str:
    """Three significant digits, with separated thousands."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_table(console: Console, rows: Sequence[RowResult]) -> None:
    """The table, and below it the work and the limit of each row."""
    table = Table("row", *HEADINGS[2:])
    for row in rows:
        table.add_row(row.name, *cells(row)[2:], style="red" if row.met is False else None)
    console.print(table)
    for row in rows:
        console.print(
            f"[bold]{row.name}[/bold]: {row.work}, against {row.compared}; limit: {row.limit}", highlight=False
        )


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = "|---" * len(headings) + "|"
    return "\n".join([f"| {' | '.join(headings)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])
