"""The command `tail`: follows the feed until Ctrl-C, and reports failures on standard error."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click

from sync_client import CursorFile, EventType, SyncClient, SyncError
from sync_client.commands.access import ID, ReadToken, json_option, url_option
from sync_client.commands.line import in_terminal_colours, render_json, render_text
from sync_client.token import Token

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class TailOptions:
    """The changes to follow, and the output format. `start` is a cursor, `latest`, or None for the beginning."""

    url: str
    start: str | None
    cursor_file: Path | None
    event_types: tuple[EventType, ...]
    file_id: str | None
    as_json: bool


@click.command("tail")
@url_option
@click.option(
    "--from",
    "start",
    default=LATEST,
    show_default=True,
    metavar="CURSOR",
    help="Where to begin: beginning, latest, or a cursor.",
)
@click.option(
    "--cursor-file",
    type=click.Path(path_type=Path),
    help="Continue from the cursor in this file, and save progress there.",
)
@click.option(
    "--event-type",
    "event_types",
    type=click.Choice(get_args(EventType)),
    multiple=True,
    help="Only this type; may be repeated.",
)
@click.option("--file-id", type=ID, help="Only changes of this file.")
@json_option
@click.pass_context
def command(context: click.Context, /, start: str, **given: Any) -> int:
    """Print every change, one a line, until Ctrl-C."""
    token: ReadToken = context.obj
    return tail(TailOptions(start=None if start == "beginning" else start, **given), token())


def tail(options: TailOptions, token: Token) -> int:
    """Print changes, one per line, until Ctrl-C or a closed output (0), or until it cannot continue (1).

    A change counts as done, for the cursor file, once its line is written.
    """
    try:
        asyncio.run(_print_changes(options, token))
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The interpreter would try to write the rest of the buffer when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SyncError, ValueError) as error:
        print(error, file=sys.stderr)
    return 1


async def _print_changes(options: TailOptions, token: Token) -> None:
    render = render_json if options.as_json else _text_renderer()
    outage = _Outage()
    async with SyncClient(options.url, token, on_retry=outage.tell) as sync:
        changes = sync.follow(
            options.start,
            store=CursorFile(options.cursor_file) if options.cursor_file else None,
            event_types=options.event_types,
            file_id=options.file_id,
        )
        async with aclosing(changes):
            async for change in changes:
                outage.end()
                print(render(change), flush=True)


def _text_renderer() -> Callable[..., str]:
    colours = in_terminal_colours(sys.stdout)
    return lambda change: render_text(change, colours=colours)


class _Outage:
    """Reports each failure once, however often it is repeated."""

    def __init__(self) -> None:
        self._told: str | None = None

    def tell(self, error: SyncError, _seconds: float) -> None:
        """A request failed and is tried again."""
        if str(error) != self._told:
            self._told = str(error)
            print(f"trying again and again: {error}", file=sys.stderr)

    def end(self) -> None:
        """Requests succeed again."""
        self._told = None
