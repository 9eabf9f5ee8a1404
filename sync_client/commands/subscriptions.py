"""Commands for subscriptions and their deliveries."""

from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, Literal

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
from sync_client.commands.events import event_types
from sync_client.commands.output import limit_option, show, show_members, with_progress

SUBSCRIPTION_COLUMNS = ("id", "url", "status", "status_reason", "pending", "dead", "created_at")
DELIVERY_COLUMNS = ("id", "position", "event_type", "file_id", "status", "attempts", "last_outcome", "created_at")


@click.group()
def subscriptions() -> None:
    """Subscriptions of receivers to events."""


@subscriptions.command("list")
@url_option
@json_option
@click.option("--status", type=click.Choice(["active", "paused", "disabled"]))
@click.pass_context
def list_subscriptions(
    context: click.Context, /, url: str, status: Literal["active", "paused", "disabled"] | None, *, as_json: bool
) -> None:
    """List subscriptions, oldest first."""
    with connect(context, url) as sync:
        show(sync.subscriptions.list(status=status), SUBSCRIPTION_COLUMNS, as_json=as_json)


@subscriptions.command("create")
@url_option
@json_option
@click.argument("receiver")
@click.option("--description", help="For people.")
@click.option("--event-type", "event_types", type=event_types, multiple=True, help="Only this type; may be repeated.")
@click.option("--start", help="latest (default), beginning, or a position.")
@click.option("--ordering", type=click.Choice(["per_file", "none"]))
@click.option("--max-concurrency", type=int)
@click.pass_context
def create_subscription(context: click.Context, /, url: str, receiver: str, *, as_json: bool, **given: Any) -> None:
    """Have events POSTed to the URL RECEIVER. Only this output contains the secret."""
    options: dict[str, Any] = {
        name: list(value) if name == "event_types" else value for name, value in given.items() if value
    }
    if str(options.get("start", "")).isdecimal():
        options["start"] = int(options["start"])
    with connect(context, url) as sync:
        show_members(sync.subscriptions.create(receiver, **options), as_json=as_json)


@subscriptions.command()
@url_option
@json_option
@click.argument("subscription_id", type=ID)
@click.pass_context
def test(context: click.Context, /, url: str, subscription_id: str, *, as_json: bool) -> int:
    """Send a ping now; status 1 when the receiver did not accept it."""
    with connect(context, url) as sync:
        result = sync.subscriptions.test(subscription_id)
    show_members(result, as_json=as_json)
    return 0 if result.outcome == "delivered" else FAILED


@subscriptions.command()
@url_option
@json_option
@click.argument("subscription_id", type=ID)
@click.pass_context
def pause(context: click.Context, /, url: str, subscription_id: str, *, as_json: bool) -> None:
    """Send nothing, and keep the backlog."""
    with connect(context, url) as sync:
        show([sync.subscriptions.pause(subscription_id)], SUBSCRIPTION_COLUMNS, as_json=as_json)


@subscriptions.command()
@url_option
@json_option
@click.argument("subscription_id", type=ID)
@click.pass_context
def resume(context: click.Context, /, url: str, subscription_id: str, *, as_json: bool) -> None:
    """Make it active again, also when the service disabled it or slowed it down."""
    with connect(context, url) as sync:
        show([sync.subscriptions.resume(subscription_id)], SUBSCRIPTION_COLUMNS, as_json=as_json)


@subscriptions.command()
@url_option
@json_option
@click.argument("subscription_id", type=ID)
@click.option("--from-position", type=int)
@click.option("--until-position", type=int)
@click.option("--from-time", type=click.DateTime(), help="UTC.")
@click.option("--until-time", type=click.DateTime(), help="UTC.")
@click.pass_context
def replay(context: click.Context, /, url: str, subscription_id: str, *, as_json: bool, **given: Any) -> None:
    """Deliver a range of events again, by position or by the time they were recorded."""
    bounds: dict[str, Any] = {k: v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for k, v in given.items()}
    with connect(context, url) as sync:
        show_members(sync.subscriptions.replay(subscription_id, **bounds), as_json=as_json)


@click.group()
def deliveries() -> None:
    """Deliveries: one event for one subscription each."""


@deliveries.command("list")
@url_option
@json_option
@limit_option
@click.argument("subscription_id", type=ID)
@click.option("--status", type=click.Choice(["pending", "delivered", "dead"]))
@click.option("--file-id", type=ID)
@click.pass_context
def list_deliveries(
    context: click.Context, /, url: str, limit: int, subscription_id: str, *, as_json: bool, **filters: Any
) -> None:
    """List the deliveries of a subscription, newest event first."""
    with connect(context, url) as sync:
        show(islice(sync.deliveries.list(subscription_id, **filters), limit), DELIVERY_COLUMNS, as_json=as_json)


@deliveries.command()
@url_option
@json_option
@click.option("--subscription", "subscription_id", type=ID, help="Subscription for --filter and --all.")
@filter_option
@all_option
@yes_option
@click.argument("delivery_ids", type=int, nargs=-1)
@click.pass_context
def redeliver(
    context: click.Context,
    /,
    url: str,
    delivery_ids: tuple[int, ...],
    subscription_id: str | None,
    filters: tuple[str, ...],
    *,
    as_json: bool,
    take_all: bool,
    yes: bool,
) -> None:
    """Redeliver: these deliveries, or a subscription's dead ones that match a filter by file_id.

    Named deliveries are redelivered up to the first refusal. For filters the command shows the count, which you type;
    if the same number matches then, all are redelivered, 10,000 in one transaction.
    """
    wanted: dict[str, Any] = read_filters(filters, ("file_id",))
    if bool(delivery_ids) + bool(wanted) + take_all != 1 or bool(delivery_ids) == bool(subscription_id):
        raise click.UsageError("Give the ids of deliveries, or --subscription with --filter or --all.")
    with connect(context, url) as sync:
        if subscription_id is None:
            again = [sync.deliveries.redeliver(one) for one in with_progress(delivery_ids, "redeliver")]
            return show(again, DELIVERY_COLUMNS, as_json=as_json)
        found = sync.deliveries.list(subscription_id, status="dead", **wanted)
        positions = count(found, "counting deliveries")
        confirm(positions, "dead deliveries match", yes=yes)
        again_matching = partial(sync.deliveries.redeliver_matching, subscription_id, **wanted)
        done = send(positions, again_matching, "redeliver")
    return show_done("redelivered", done, as_json=as_json)
