"""The command line: `python -m app …`."""

import os
from collections.abc import Callable, Sequence
from importlib import import_module

import click

from sync_client.commands.access import TOKEN_VARIABLE, read_token, run
from sync_client.commands.main import SHARED

# The commands of `app.commands`, which load the whole service: that takes seconds, and commands that talk to one over
# HTTP need none of it.
OWN = ("backup", "openapi", "serve", "token")


class _Commands(click.Group):
    """Loads the service with the first command that needs it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted((*super().list_commands(ctx), *OWN))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in OWN:
            commands: dict[str, click.Command] = import_module("app.commands").COMMANDS
            return commands[cmd_name]
        return super().get_command(ctx, cmd_name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Raises:
        SystemExit: 2 for invalid arguments; with a message for invalid settings.
    """
    return run(_commands, arguments, "python -m app")


@click.group(
    cls=_Commands,
    commands=SHARED,
    epilog="Exit status: 0 done, 1 refused or failed, 2 wrong arguments, 3 the service is unavailable, 4 a check found "
    "differences.",
)
@click.pass_context
def _commands(context: click.Context) -> None:
    """Sync Service: run it, and operate it. In local mode the commands mint their own token."""
    context.obj = _read_token


def _read_token() -> str | Callable[[], str]:
    """The token of the environment, else one of local mode, minted again whenever it has expired."""
    if os.environ.get(TOKEN_VARIABLE, "").strip():
        return read_token()
    mint: Callable[[], str] = import_module("app.commands").operator_token()
    return mint
