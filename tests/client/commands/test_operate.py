"""The operators' commands against a real service: tables, JSON, exit statuses."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from app.auth.token import Scope
from app.cli import main as app_main
from sync_client import BlockingSyncClient
from sync_client.commands.access import run
from sync_client.commands.main import syncctl
from tests.client.conftest import Local, mint, until
from tests.conftest import LOCAL_MODE
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
    done = command("health")
    assert (done.status, done.errors) == (0, "")
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
    with sqlite3.connect(local.path) as connection:
        failed = "UPDATE sync_events SET processed = 0, processed_at = NULL, retry_state = 'failed' WHERE position = ?"
        connection.execute(failed, [sync.get(created.event_id).position])
    connection.close()
    [requeued] = command("events", "requeue", str(created.event_id), "--json").json()
    assert requeued["state"] == "retrying"


def test_subscriptions_and_deliveries(command: Command, sync: BlockingSyncClient, receiver: Receiver) -> None:
    options = ("--event-type", "delete", "--description", "for trials", "--start", "latest", "--json")
    [created] = command("subscriptions", "create", receiver.url, *options).json()
    id_ = created["id"]
    assert (created["event_types"], created["description"]) == (["delete"], "for trials")
    assert created["secret"].startswith("whsec_")
    ping = command("subscriptions", "test", id_)
    assert (ping.status, "500" in ping.output) == (1, True)
    assert "paused" in command("subscriptions", "pause", id_).output
    assert [one["id"] for one in command("subscriptions", "list", "--status", "paused", "--json").json()] == [id_]
    assert "active" in command("subscriptions", "resume", id_).output
    sync.create(uuid4(), "delete")
    [dead] = until(lambda: command("deliveries", "list", id_, "--status", "dead", "--json").json())
    assert "dead" in command("deliveries", "list", id_).output
    [pending] = command("deliveries", "redeliver", str(dead["id"]), "--json").json()
    assert pending["status"] == "pending"
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
