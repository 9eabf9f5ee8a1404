"""Commands for the consistency of the files with the services that hold them."""

from collections.abc import Sequence
from itertools import islice
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from sync_client import BlockingSyncClient
from sync_client.commands.access import FAILED, ID, Failure, connect, json_option, url_option
from sync_client.commands.line import escape
from sync_client.commands.output import limit_option, show
from sync_client.consistency_models import Check, Source

DIFFERENT = 4
CHECK_COLUMNS = ("source", "state", "reason", "position", "compared", "of", "in_flight", "counts")
FINDING_COLUMNS = ("state", "kind", "file_id", "source", "first_seen_at", "message", "id")


@click.group()
def consistency() -> None:
    """Compare the services that hold the files with the events."""


@consistency.command()
@url_option
@json_option
@click.option("--file-id", "file_ids", type=ID, multiple=True, help="Only this file; may be repeated.")
@click.option("--deep", metavar="K/N", help="Read and hash this part of the blocks, such as 1/7.")
@click.option("--accept-shrink", is_flag=True, help="Accept a listing that lacks many files.")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.pass_context
def check(
    context: click.Context,
    /,
    url: str,
    sources: tuple[str, ...],
    file_ids: tuple[str, ...],
    *,
    as_json: bool,
    **options: Any,
) -> int:
    """Check sources, by name or id (default: all enabled ones), and wait for the end.

    Status 0: they agree; 4: there are differences; 1: a check did not complete.
    """
    with connect(context, url) as sync:
        chosen = _choose(sync.consistency.sources(), sources)
        ended = [_check(sync, one, file_ids or None, options) for one in chosen]
    show(ended, CHECK_COLUMNS, as_json=as_json)
    if any(one.state != "complete" for one in ended):
        return FAILED
    return DIFFERENT if any(sum(one.counts.values()) for one in ended) else 0


@consistency.command()
@url_option
@json_option
@limit_option
@click.option("--state", help="suspected, open, resolved or accepted.")
@click.option("--kind", help="For example missing or orphaned.")
@click.option("--source", type=ID)
@click.option("--file-id", type=ID)
@click.pass_context
def findings(context: click.Context, /, url: str, limit: int, *, as_json: bool, **filters: Any) -> None:
    """List findings, newest first."""
    with connect(context, url) as sync:
        show(islice(sync.consistency.findings(**filters), limit), FINDING_COLUMNS, as_json=as_json)


def _choose(sources: Sequence[Source], wanted: Sequence[str]) -> list[Source]:
    if not wanted:
        enabled = [one for one in sources if one.enabled]
        if not enabled:
            raise Failure("There is no source that is enabled.")
        return enabled
    chosen = []
    for text in wanted:
        named = [one for one in sources if text in {one.name, str(one.id)}]
        if len(named) != 1:
            raise Failure(f"{len(named)} sources have this name or id: {text}")
        chosen += named
    return chosen


def _check(
    sync: BlockingSyncClient, source: Source, file_ids: Sequence[UUID | str] | None, options: dict[str, Any]
) -> Check:
    begun = sync.consistency.check(source.id, file_ids, **options)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(source.name), total=begun.of)
        return sync.consistency.wait(
            begun.id,
            on_progress=lambda now: progress.update(task, completed=now.compared + now.in_flight, total=now.of),
        )
