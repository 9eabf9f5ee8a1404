"""The operators' commands against a real service: tables, JSON, exit statuses."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from app.auth.token import Scope
from app.cli import main as app_main
from sync_client import BlockingSyncClient, NewEvent, SyncError, Unavailable, UnexpectedAnswer
from sync_client.commands import bulk
from sync_client.commands.access import FAILED, UNAVAILABLE, Failure, run
from sync_client.commands.main import syncctl
from sync_client.errors import refusal
from sync_client.models import Problem
from tests.client.conftest import Local, mint, set_aside, until
from tests.conftest import LOCAL_MODE
from tests.consistency.owner import Owner
from tests.support.receiver import Receiver


class Done(NamedTuple):
    """What a command did."""

    status: int
    output: str
    errors: str

    def json(self) -> list[Any]:
        """Its output as JSON, an object a line."""
        return [json.loads(line) for line in self.output.splitlines()]


Command = Callable[..., Done]


@pytest.fixture
def command(local: Local, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`syncctl` with the service and a token in the environment."""
    monkeypatch.setenv("SYNC_URL", local.url)
    monkeypatch.setenv("SYNC_TOKEN", local.token)

    def call(*arguments: str) -> Done:
        status = run(syncctl, arguments, "syncctl")
        return Done(status, *capsys.readouterr())

    return call


@pytest.fixture
def sync(local: Local) -> Iterator[BlockingSyncClient]:
    """A client to record events with."""
    with BlockingSyncClient(local.url, local.token) as sync:
        yield sync


def test_health(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNC_TOKEN")
    done = until(lambda: (done := command("health")).status == 0 and done)
    assert done.errors == ""
    assert "healthy" in done.output
    [health] = command("health", "--json").json()
    assert health["service"] == "sync-service"


def test_events(command: Command, sync: BlockingSyncClient, local: Local) -> None:
    file_id = uuid4()
    created = sync.create(file_id, "upload", {"path": "\x1b[31m[red]a"})
    until(lambda: sync.get(created.event_id).processed)
    sync.create(file_id, "delete")
    done = command("events", "list", "--file-id", str(file_id))
    assert [line.split()[3] for line in done.output.splitlines()[1:]] == ["delete", "upload"]
    assert len(command("events", "list", "--limit", "1", "--json").json()) == 1
    shown = command("events", "get", str(created.event_id)).output
    assert "\\u001b[31m[red]a" in shown
    assert "\x1b" not in shown
    refused = command("events", "requeue", str(created.event_id))
    assert (refused.status, refused.output, refused.errors.count("\n")) == (1, "", 1)
    assert "409" in refused.errors
    set_aside(local, created.event_id, error="KeyError: a")
    [requeued] = command("events", "requeue", str(created.event_id), "--json").json()
    assert requeued["state"] == "retrying"


def test_events_are_requeued_by_filter_once_the_count_is_typed(
    command: Command, sync: BlockingSyncClient, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = f"KeyError: {uuid4()}=1"
    ids = sync.create_many(NewEvent(uuid4(), "update") for _ in range(3))
    until(lambda: sync.get(ids[-1]).processed)
    set_aside(local, *ids, error=error)
    by_error = ("events", "requeue", "--filter", f"last_error={error}", "--filter", "event_type=update")
    for typed in ("2\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        done = command(*by_error)
        assert (done.status, done.output) == (1, "")
        assert "3 set-aside events match, up to position" in done.errors
        assert "nothing was done" in done.errors
    monkeypatch.setattr(bulk, "MAX_AT_ONCE", 2)
    monkeypatch.setattr("sys.stdin", io.StringIO("3\n"))
    with monkeypatch.context() as terminal:
        terminal.setenv("FORCE_COLOR", "1")
        done = command(*by_error)
    assert done[:2] == (0, "3 requeued\n")
    assert "100%" in done.errors
    assert {sync.get(one).state for one in ids} <= {"retrying", "processed"}
    assert command(*by_error, "--yes", "--json").json() == [{"requeued": 0}]
    until(lambda: all(sync.get(one).processed for one in ids))
    set_aside(local, ids[0], error=error)
    assert command("events", "requeue", "--all", "--yes", "--json").json() == [{"requeued": 1}]


def test_a_bulk_command_reports_what_came_between(
    command: Command, sync: BlockingSyncClient, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sync.create_many(NewEvent(uuid4(), "update") for _ in range(2))
    until(lambda: sync.get(ids[-1]).processed)
    set_aside(local, *ids, error="KeyError: a")

    class Meanwhile:
        """Another operator is faster than the one who types."""

        def readline(self) -> str:
            sync.events.requeue(ids[1])
            return "2\n"

    monkeypatch.setattr("sys.stdin", Meanwhile())
    done = command("events", "requeue", "--all")
    assert (done.status, done.output) == (1, "")
    assert "The filter matches 1 set-aside events" in done.errors
    assert "(0 of 2 were done)" in done.errors
    sync.events.requeue(ids[0])


@pytest.mark.parametrize(
    ("error", "status", "note"),
    [
        (Unavailable("no response"), UNAVAILABLE, "no response (at least 2 of 3 were done)"),
        (Unavailable("no connection", not_acted_on=True), UNAVAILABLE, "no connection (2 of 3 were done)"),
        (UnexpectedAnswer("a \x1b[31m page"), FAILED, "a ?[31m page (at least 2 of 3 were done)"),
        (refusal(403, Problem(title="Forbidden", status=403), None), FAILED, "Forbidden (2 of 3 were done)"),
    ],
)
def test_a_bulk_command_that_fails_midway_reports_what_was_done(
    monkeypatch: pytest.MonkeyPatch, error: SyncError, status: int, note: str
) -> None:
    monkeypatch.setattr(bulk, "MAX_AT_ONCE", 2)

    def request(*, up_to_position: int, expected: int) -> int:
        if up_to_position == 3:
            raise error
        return expected

    with pytest.raises(Failure) as failed:
        bulk.send([1, 2, 3], request, "requeue")
    assert (failed.value.exit_code, failed.value.message[-len(note) :]) == (status, note)


@pytest.mark.parametrize(
    "arguments",
    [
        ("events", "requeue"),
        ("events", "requeue", "--all", "--filter", "event_type=update"),
        ("events", "requeue", "--all", "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"),
        ("events", "requeue", "--filter", "state=failed"),
        ("events", "requeue", "--filter", "last_error"),
        ("events", "requeue", "--filter", "last_error=a", "--filter", "last_error=b"),
        ("deliveries", "redeliver"),
        ("deliveries", "redeliver", "--all"),
        ("deliveries", "redeliver", "--subscription", "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"),
        ("deliveries", "redeliver", "1", "--subscription", "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"),
    ],
)
def test_bulk_arguments_that_make_no_sense(command: Command, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(*arguments)


def test_consistency(command: Command, sync: BlockingSyncClient, owner: Owner) -> None:
    source = sync.consistency.add_source("a [red]store", owner.url, grace_seconds=0)
    try:
        kept, lost = uuid4(), uuid4()
        ids = sync.create_many(NewEvent(one, "upload") for one in (kept, lost))
        until(lambda: sync.get(ids[-1]).processed)
        owner.put(kept)
        assert command("consistency", "check", "a [red]store", "--file-id", str(kept)).status == 0
        found = command("consistency", "check", str(source.id), "--file-id", str(kept), "--file-id", str(lost))
        assert (found.status, found.errors) == (4, "")
        assert "complete" in found.output
        [finding] = command("consistency", "findings", "--file-id", str(lost), "--json").json()
        assert (finding["kind"], finding["source"]) == ("missing", str(source.id))
        assert "missing" in command("consistency", "findings", "--source", str(source.id)).output
        assert command("consistency", "check", "nowhere").errors == "0 sources have this name or id: nowhere\n"
        owner.meddle = lambda _path, _reply: (403, b"{}")
        refused = command("consistency", "check", "--json", "--file-id", str(lost))
        assert (refused.status, [one["state"] for one in refused.json()]) == (1, ["incomplete"])
        sync.consistency.change_source(source.id, enabled=False)
        assert command("consistency", "check").errors == "There is no source that is enabled.\n"
    finally:
        sync.consistency.delete_source(source.id)


def test_subscriptions_and_deliveries(command: Command, sync: BlockingSyncClient, receiver: Receiver) -> None:
    options = ("--event-type", "delete", "--description", "for trials", "--start", "latest", "--json")
    [created] = command("subscriptions", "create", receiver.url, *options).json()
    id_ = created["id"]
    assert (created["event_types"], created["description"]) == (["delete"], "for trials")
    assert created["secret"].startswith("whsec_")
    ping = command("subscriptions", "test", id_)
    assert (ping.status, "500" in ping.output) == (1, True)
    assert "paused" in command("subscriptions", "pause", id_).output
    assert id_ in [one["id"] for one in command("subscriptions", "list", "--status", "paused", "--json").json()]
    assert "active" in command("subscriptions", "resume", id_).output
    sync.create(uuid4(), "delete")
    [dead] = until(lambda: command("deliveries", "list", id_, "--status", "dead", "--json").json())
    assert "dead" in command("deliveries", "list", id_).output
    [pending] = command("deliveries", "redeliver", str(dead["id"]), "--json").json()
    assert pending["status"] == "pending"
    until(lambda: command("deliveries", "list", id_, "--status", "dead", "--json").json())
    file_id = f"file_id={dead['file_id']}"
    bulk_of = ("deliveries", "redeliver", "--subscription", id_, "--yes", "--json")
    assert command(*bulk_of, "--filter", file_id).json() == [{"redelivered": 1}]
    until(lambda: command("deliveries", "list", id_, "--status", "dead", "--json").json())
    assert command(*bulk_of, "--all").json() == [{"redelivered": 1}]
    position = str(dead["position"])
    [replayed] = command(
        "subscriptions", "replay", id_, "--from-position", position, "--until-position", position, "--json"
    ).json()
    assert replayed["id"] == id_
    sync.subscriptions.delete(id_)
    assert command("subscriptions", "pause", id_).status == 1


def test_what_goes_wrong_is_one_line_and_a_status(
    command: Command, local: Local, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command("events", "get", "xyz")
    assert "must be a UUID" in capsys.readouterr().err
    monkeypatch.setattr("sync_client.commands.access.RETRIES", 0)
    assert command("events", "list", "--url", "http://127.0.0.1:9").status == 3
    monkeypatch.setenv("SYNC_TOKEN", mint("reader", Scope.READ))
    refused = command("subscriptions", "list")
    assert (refused.status, refused.output, refused.errors.count("\n")) == (1, "", 1)
    assert "admin:sync" in refused.errors
    monkeypatch.delenv("SYNC_TOKEN")
    assert command("events", "list") == (1, "", "A token is needed: set SYNC_TOKEN.\n")


def test_the_app_mints_its_own_token(
    local: Local, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in LOCAL_MODE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SYNC_TOKEN", raising=False)
    assert app_main(["subscriptions", "list", "--json", "--url", local.url]) == 0
    monkeypatch.setenv("AUTH0_DOMAIN", "example.eu.auth0.com")
    assert app_main(["subscriptions", "list", "--url", local.url]) == 1
    assert "set SYNC_TOKEN to one from example.eu.auth0.com" in capsys.readouterr().err
