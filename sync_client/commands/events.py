"""Commands for events, and for the service's health."""

from functools import partial
from itertools import islice
from typing import Any, get_args

import click

from sync_client.commands.access import FAILED, ID, connect, json_option, url_option
from sync_client.commands.bulk import (
    all_option,
    confirm,
    count,
    filter_option,
    read_filters,
    send,
    show_done,
    yes_option,
)
from sync_client.commands.output import limit_option, show, show_members, with_progress
from sync_client.models import EventType

EVENT_COLUMNS = ("position", "created_at", "event_type", "file_id", "event_id", "state", "last_error")
REQUEUE_FILTERS = ("last_error", "event_type", "file_id")

event_types = click.Choice(get_args(EventType))


@click.command()
@url_option
@json_option
@click.pass_context
def health(context: click.Context, /, url: str, *, as_json: bool) -> int:
    """Show the service's health; status 1 unless it is healthy. Needs no token."""
    context.obj = lambda: "none"
    with connect(context, url) as sync:
        found = sync.health()
    show_members(found, as_json=as_json)
    return 0 if found.status == "healthy" else FAILED


@click.group()
def events() -> None:
    """Events of the ledger."""


@events.command("list")
@url_option
@json_option
@limit_option
@click.option("--event-type", type=event_types)
@click.option("--file-id", type=ID)
@click.option("--state", help="For example failed: set aside until it is requeued.")
@click.pass_context
def list_events(context: click.Context, /, url: str, limit: int, *, as_json: bool, **filters: Any) -> None:
    """List events, newest first."""
    with connect(context, url) as sync:
        show(islice(sync.list(**filters), limit), EVENT_COLUMNS, as_json=as_json)


@events.command("get")
@url_option
@json_option
@click.argument("event_id", type=ID)
@click.pass_context
def get_event(context: click.Context, /, url: str, event_id: str, *, as_json: bool) -> None:
    """Show one event."""
    with connect(context, url) as sync:
        show_members(sync.get(event_id), as_json=as_json)


@events.command()
@url_option
@json_option
@filter_option
@all_option
@yes_option
@click.argument("event_ids", type=ID, nargs=-1)
@click.pass_context
def requeue(
    context: click.Context,
    /,
    url: str,
    event_ids: tuple[str, ...],
    filters: tuple[str, ...],
    *,
    as_json: bool,
    take_all: bool,
    yes: bool,
) -> None:
    """Requeue set-aside events: these, or all that match filters by last_error, event_type or file_id.

    Named events are requeued up to the first refusal. For filters the command shows the count, which you type; if the
    same number matches then, all are requeued, 10,000 in one transaction.
    """
    wanted: dict[str, Any] = read_filters(filters, REQUEUE_FILTERS)
    if bool(event_ids) + bool(wanted) + take_all != 1:
        raise click.UsageError("Give the ids of events, or --filter, or --all.")
    with connect(context, url) as sync:
        if event_ids:
            requeued = [sync.events.requeue(one) for one in with_progress(event_ids, "requeue")]
            return show(requeued, EVENT_COLUMNS, as_json=as_json)
        listed = {name: value for name, value in wanted.items() if name != "last_error"}
        found = sync.events.list(state="failed", **listed)
        last_error = wanted.get("last_error")
        positions = count((one for one in found if last_error in {None, one.last_error}), "counting events")
        confirm(positions, "set-aside events match", yes=yes)
        done = send(positions, partial(sync.events.requeue_matching, **wanted), "requeue")
    return show_done("requeued", done, as_json=as_json)
