"""Writes the results of a run into docs/performance.md, between its markers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks.catalog import EXPERIMENTS
from benchmarks.model import Results
from benchmarks.profile import load_profile
from benchmarks.report import HEADINGS, ROOT, cells, markdown_table, number

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- {name}: written by `python -m benchmarks report` -->"
END = "<!-- end of {name} -->"
MILLION, THOUSAND, GB = 1_000_000, 1_000, 10**9


def write_page(results: Results) -> Path:
    """Bring the page up to date and return where it is."""
    PAGE.write_text(render(PAGE.read_text(), results))
    return PAGE


def render(page: str, results: Results) -> str:
    """`page` with `results` between its markers.

    Raises:
        ValueError: when the page does not have each marker once.
    """
    for name, section in SECTIONS.items():
        page = _replace(page, name, section(results))
    return page


def _replace(page: str, name: str, text: str) -> str:
    begin, end = BEGIN.format(name=name), END.format(name=name)
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page must have each marker of {name} once")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _table(results: Results) -> str:
    measured = {row.name for row in results.rows}
    added = [row.name for one in EXPERIMENTS for row in one.rows if row.name not in measured]
    table = markdown_table(("row", *HEADINGS), [(row.name, *cells(row)) for row in results.rows])
    return f"{table}\n\nAdded since this run: {', '.join(added)}." if added else table


def _limits(results: Results) -> str:
    sides = {row.name: (one.name, row.ours.side) for one in EXPERIMENTS for row in one.rows}
    lines = [(row.name, row.limit, *_cores(results, *sides[row.name])) for row in results.rows]
    return markdown_table(("row", "what limits it", "service, cores", "PostgreSQL, cores"), lines)


def _cores(results: Results, experiment: str, side: str) -> Iterator[str]:
    """How many cores service and PostgreSQL kept busy; empty where that was not measured."""
    for process in ("service", "postgres"):
        figure = f"{process}_cpu_seconds_per_1000"
        rounds = [one[side] for one in results.rounds[experiment]]
        busy = [one[figure] * one["events_per_second"] / THOUSAND for one in rounds if figure in one]
        yield f"{median(busy):.2f}" if busy else ""


def _machine(results: Results) -> str:
    machine = ", ".join(f"{name}: {value}" for name, value in results.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    settings = ", ".join(f"`{name}={value}`" for name, value in results.postgresql_settings.items())
    return "\n".join(
        (
            f"- {results.date}, `{results.command}`, {results.seconds:.0f} seconds, {results.plan['rounds']} rounds",
            f"- {machine}",
            f"- {versions}",
            f"- PostgreSQL with {settings}",
        )
    )


def _sizing(results: Results) -> str:
    """The cost of a million events, and the events per core."""
    return markdown_table(
        ("to", "events/s per service core", "service CPU", "PostgreSQL CPU", "WAL", "disk afterwards"),
        [
            (work, *_costs(results, experiment, side))
            for work, experiment, side in (
                ("record 1,000,000 events, one by one", "append", "service"),
                ("record 1,000,000 events, in batches of 500", "batch", "service"),
                ("sweep 1,000,000 events", "sweep", "sweep"),
            )
        ],
    )


def _costs(results: Results, experiment: str, side: str) -> Iterator[str]:
    def middle(figure: str) -> float:
        return median(one[side][figure] for one in results.rounds[experiment])

    service = middle("service_cpu_seconds_per_1000")
    yield number(THOUSAND / service)
    yield f"{number(service * THOUSAND)} s"
    yield f"{number(middle('postgres_cpu_seconds_per_1000') * THOUSAND)} s"
    yield f"{middle('wal_bytes_per_million') / GB:.2f} GB"
    yield f"{middle('disk_bytes_per_million') / GB:.2f} GB"


def _profile(_results: Results) -> str:
    found = load_profile()
    parts = dict.fromkeys(part for shares in found.works.values() for part in shares)
    lines = [(part, *(f"{shares.get(part, 0):.0%}" for shares in found.works.values())) for part in parts]
    return markdown_table(("of the worker's time", *found.works), lines)


SECTIONS: dict[str, Callable[[Results], str]] = {
    "table": _table,
    "limits": _limits,
    "profile": _profile,
    "machine": _machine,
    "sizing": _sizing,
}
