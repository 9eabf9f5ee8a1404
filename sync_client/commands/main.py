"""`syncctl`: the commands of the client, over HTTP alone."""

import sys

import click

from sync_client.commands import receive, tail
from sync_client.commands.access import read_token, run
from sync_client.commands.consistency import consistency
from sync_client.commands.events import events, health
from sync_client.commands.subscriptions import deliveries, subscriptions
from sync_client.version import __version__

SHARED = (health, events, subscriptions, deliveries, consistency, tail.command, receive.command)


@click.group(
    commands=SHARED,
    epilog="SYNC_TOKEN is the token, SYNC_URL the service. Exit status: 0 done, 1 refused or failed, 2 wrong "
    "arguments, 3 the service is unavailable, 4 a check found differences, 130 interrupted.",
)
@click.version_option(__version__)
@click.pass_context
def syncctl(context: click.Context) -> None:
    """Operate Sync Service."""
    context.obj = read_token


def main() -> None:
    """Run one command and end the process with its status."""
    sys.exit(run(syncctl, None, "syncctl"))
