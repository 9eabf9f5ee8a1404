"""Bulk requests: the filters of the command line, the count to confirm, and the requests themselves."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Protocol

import click
from rich.console import Console

from sync_client import Refused, SyncError, Unavailable
from sync_client.commands.access import Failure, failure_of
from sync_client.commands.output import with_progress

MAX_AT_ONCE = 10_000  # of one request

filter_option = click.option(
    "--filter", "filters", multiple=True, metavar="NAME=VALUE", help="All matching items; may be repeated."
)
all_option = click.option("--all", "take_all", is_flag=True, help="All items.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for the count.")


class HasPosition(Protocol):
    """An item that a bulk request changes."""

    @property
    def position(self) -> int:
        """Its position in the ledger."""


def read_filters(filters: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """The filters by name.

    Raises:
        click.UsageError: one has no such name, or comes twice.
    """
    wanted: dict[str, str] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if not equals or name not in names or name in wanted:
            raise click.UsageError(f"--filter takes each of {', '.join(names)} once, as NAME=VALUE.")
        wanted[name] = value
    return wanted


def count(items: Iterable[HasPosition], doing: str) -> list[int]:
    """The positions of the items, lowest first; a terminal shows their number so far."""
    console = Console(stderr=True)
    positions: list[int] = []
    with console.status(f"{doing} …") as status:
        for item in items:
            positions.append(item.position)
            if len(positions) % 100 == 0:
                status.update(f"{doing} … {len(positions)}")
    return sorted(positions)


def confirm(positions: Sequence[int], what: str, *, yes: bool) -> None:
    """Ask the user to type the count.

    Raises:
        Failure: another count was typed, or none.
    """
    number = len(positions)
    if yes or not number:
        return
    question = f"{number} {what}, up to position {positions[-1]}. Type the count to go on: "
    click.echo(question, err=True, nl=False)
    if sys.stdin.readline().strip() != str(number):
        raise Failure("That is not the count; nothing was done. (--yes goes on without it.)")


def send(positions: Sequence[int], request: Callable[..., int], doing: str) -> int:
    """Send one request for each 10,000 of the positions, lowest first; returns the number of changed items.

    Raises:
        Failure: a request failed, as when other items match by now; its message has the number of changed items.
    """
    done = 0
    with closing(with_progress(range(0, len(positions), MAX_AT_ONCE), doing)) as starts:
        for first in starts:
            part = positions[first : first + MAX_AT_ONCE]
            try:
                done += request(up_to_position=part[-1], expected=len(part))
            except SyncError as error:
                least = "" if _did_nothing(error) else "at least "
                raise failure_of(error, f" ({least}{done} of {len(positions)} were done)") from None
    return done


def _did_nothing(error: SyncError) -> bool:
    return isinstance(error, Refused) or (isinstance(error, Unavailable) and error.not_acted_on)


def show_done(name: str, done: int, *, as_json: bool) -> None:
    """Print the number of changed items."""
    click.echo(json.dumps({name: done}, separators=(",", ":")) if as_json else f"{done} {name}")
