"""The command `tail`: follows the feed until Ctrl-C, and reports failures on standard error."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Self, get_args
from uuid import UUID

import httpx

from sync_client import CursorFile, EventType, SyncClient, SyncError
from sync_client.commands.line import in_terminal_colours, render_json, render_text

LATEST = "latest"

Token = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What to follow, and how to show it. `start` is a cursor, `latest`, or None for the beginning."""

    url: str
    start: str | None
    cursor_file: Path | None
    event_types: tuple[EventType, ...]
    file_id: str | None
    as_json: bool

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """The parsed arguments."""
        return cls(
            url=options.url,
            start=options.start,
            cursor_file=options.cursor_file,
            event_types=tuple(options.event_type),
            file_id=options.file_id,
            as_json=options.as_json,
        )


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the options of `tail`; `TailOptions.of` reads them."""
    command.description = (
        "Print every change, one a line, until Ctrl-C. SYNC_TOKEN is the token; local mode needs none."
    )
    command.add_argument("--url", type=_url, default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    command.add_argument(
        "--from",
        dest="start",
        type=_start,
        default=LATEST,
        metavar="CURSOR",
        help="where to begin: beginning, latest, or a cursor (default: latest)",
    )
    command.add_argument(
        "--cursor-file", type=Path, metavar="FILE", help="go on where FILE says, and keep there how far this has come"
    )
    command.add_argument(
        "--event-type", action="append", choices=get_args(EventType), default=[], help="only these; may be repeated"
    )
    command.add_argument("--file-id", type=_file_id, help="only changes of this file")
    command.add_argument("--json", action="store_true", dest="as_json", help="one JSON object a line")


def tail(options: TailOptions, token: Token) -> int:
    """Print changes, one per line, until Ctrl-C or a closed output (0), or until it cannot go on (1).

    A change counts as done, for the cursor file, once its line is written.
    """
    try:
        asyncio.run(_print_changes(options, token))
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The interpreter would try to write what is still buffered when it ends.
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
    """Tells of each failure once, however often it comes again."""

    def __init__(self) -> None:
        self._told: str | None = None

    def tell(self, error: SyncError, _seconds: float) -> None:
        """A request failed and is tried again."""
        if str(error) != self._told:
            self._told = str(error)
            print(f"trying again and again: {error}", file=sys.stderr)

    def end(self) -> None:
        """It works again."""
        self._told = None


def _url(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise argparse.ArgumentTypeError("must begin with http:// or https:// and name a host")
    return text


def _start(text: str) -> str | None:
    return None if text == "beginning" else text


def _file_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError("must be a UUID") from None
