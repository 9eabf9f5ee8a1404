"""Writes the tables of settings into README.md and docs/settings.md from `Settings` and the groups of .env.example.

`python -m docs.generate_settings` writes; with `--check` it only says what would change, and exits with 1 if anything.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.config import Settings

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- settings: written by `make docs` -->"
END = "<!-- end of settings -->"
ESSENTIAL = (  # those that the README shows
    "database_url",
    "api_title",
    "api_version",
    "api_description",
    "secret_key",
    "access_token_expire_minutes",
    "auth0_domain",
    "api_audience",
    "algorithms",
    "sync_event_process_interval",
    "environment",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="report only, change nothing")
    options = parser.parse_args(arguments)
    wanted = {path: replace_tables(path.read_text(), tables) for path, tables in pages().items()}
    stale = {path: text for path, text in wanted.items() if path.read_text() != text}
    for path, text in stale.items():
        if options.check:
            print(f"{path.relative_to(ROOT)} is not what `make docs` writes", file=sys.stderr)
        else:
            path.write_text(text)
    return int(options.check and bool(stale))


def pages() -> dict[Path, str]:
    """What stands between the markers of each page."""
    everything = (f"## {title}\n\n{table(names)}" for title, names in groups())
    return {ROOT / "README.md": table(ESSENTIAL), ROOT / "docs" / "settings.md": "\n".join(everything)}


def groups() -> Iterator[tuple[str, list[str]]]:
    """Title and field names of each group, as .env.example has them."""
    _, *parts = re.split(r"^# --- (.+) ---$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        yield title, [name.lower() for name in re.findall(r"^(?:# )?([A-Z0-9_]+)=", text, re.MULTILINE)]


def table(names: Sequence[str]) -> str:
    """A Markdown table of these fields."""
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *map(row, names), ""])


def row(name: str) -> str:
    """The line of one field."""
    field = Settings.model_fields[name]
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
    shown = default.lower() if isinstance(field.default, bool) else default
    return f"| `{name.upper()}` | {f'`{shown}`' if shown else 'empty'} | {field.description} |"


def replace_tables(page: str, tables: str) -> str:
    """`page` with `tables` between its markers.

    Raises:
        ValueError: when the page does not have each marker once.
    """
    before, found, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not found or not end or BEGIN in after:
        raise ValueError("a page must have each marker once")
    return f"{before}{found}\n{tables}\n{end}{after}"


if __name__ == "__main__":
    raise SystemExit(main())
