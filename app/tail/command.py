"""Follows the feed until Ctrl-C, and says on standard error what is in the way."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.auth.local import LocalSecretError, mint_local_token
from app.auth.principal import Scope
from app.config import load_settings
from app.log import configure_logging
from app.tail.line import in_terminal_colours, render_json, render_text
from sync_client import CursorFile, EventType, SyncClient, SyncError

TOKEN_VARIABLE = "SYNC_TOKEN"  # noqa: S105 - the name of the variable
SUBJECT = "tail"


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What to follow, and how to show it. `start` is a cursor, `latest`, or None for the beginning."""

    url: str
    start: str | None
    cursor_file: Path | None
    event_types: tuple[EventType, ...]
    file_id: str | None
    as_json: bool


class NoToken(Exception):
    """There is nothing to show to the service; the message says what to do."""


def tail(options: TailOptions) -> int:
    """Print changes, one a line, until Ctrl-C or until nobody reads them (0), or until that can not go on (1).

    A change counts as done, for the cursor file, once its line is written.
    """
    try:
        asyncio.run(_print_changes(options))
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # What is still buffered can not be written either; the interpreter would try once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SyncError, LocalSecretError, NoToken, ValueError) as error:
        print(error, file=sys.stderr)
    return 1


async def _print_changes(options: TailOptions) -> None:
    render = render_json if options.as_json else _text_renderer()
    outage = _Outage()
    async with SyncClient(options.url, _find_token(), on_retry=outage.tell) as sync:
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


def _find_token() -> str | Callable[[], str]:
    """The token of the environment, else one of local mode, minted anew when it has expired."""
    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if given:
        return given
    settings = load_settings()
    configure_logging(level="WARNING", as_json=settings.log_json)
    if not settings.local_mode:
        raise NoToken(f"A token is needed: set {TOKEN_VARIABLE} to one from {settings.auth0_domain}.")
    return lambda: mint_local_token(settings, SUBJECT, [Scope.READ], None, datetime.now(UTC))


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
