"""Shows results: tables for people, JSON for scripts."""

import json
import sys
from collections.abc import Generator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from sync_client.commands.line import escape

PIPE_WIDTH = 300

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number of items."
)


def show(items: Iterable[BaseModel], columns: Sequence[str], *, as_json: bool) -> None:
    """Print each item: with these columns in a table, or whole as JSON."""
    if as_json:
        for item in items:
            click.echo(json.dumps(item.model_dump(mode="json"), separators=(",", ":")))
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for item in items:
        table.add_row(*(_cell(getattr(item, column)) for column in columns))
    _print(table)


def show_members(item: BaseModel, *, as_json: bool) -> None:
    """Print one item: a line for each member, or JSON."""
    if as_json:
        show([item], (), as_json=True)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name in type(item).model_fields:
        table.add_row(Text(name.replace("_", " ")), _cell(getattr(item, name)))
    _print(table)


def with_progress(ids: Sequence[Any], doing: str) -> Generator[Any, None, None]:
    """`ids` one after the other, with a bar on standard error where that is a terminal and there are several."""
    console = Console(stderr=True)
    quiet = len(ids) < 2 or not console.is_terminal
    yield from track(ids, description=doing, console=console, disable=quiet, transient=True)


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, datetime):
        return Text(value.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z"))
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    elif isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Text(escape(str(value)))
