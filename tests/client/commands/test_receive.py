"""`python -m app receive` as a process of its own, sent to by the service's own sender and by others."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from app.cli import main
from app.deliveries.message import event_body, ping_body
from app.outbound.address import AddressPolicy
from app.outbound.client import OutboundClient
from app.outbound.secret import new_secret, signed_headers
from app.subscriptions.models import Outcome
from tests.client.commands.receiving import DEADLINE_SECONDS, LEDGER, SECRET, Receiving, Row, deliver, read_address
from tests.conftest import ROOT
from tests.support.fork_server import ForkServer
from tests.support.waiting import until


@pytest.fixture
def start(fork_server: ForkServer, tmp_path: Path) -> Iterator[Callable[..., Receiving]]:
    """Start `receive`; it is ended after the test."""
    started: list[Receiving] = []

    def begin(*arguments: str, **variables: str) -> Receiving:
        started.append(Receiving(fork_server, tmp_path, *arguments, **variables))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
async def sender() -> AsyncIterator[OutboundClient]:
    """What the service sends with."""
    sender = OutboundClient(AddressPolicy(allow_private=True, ports=frozenset()), 20)
    yield sender
    await sender.close()


def _start(command: list[str], output: int, errors: int | None) -> "subprocess.Popen[bytes]":
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=errors)


async def test_events_are_lines_and_ctrl_c_is_a_good_end(
    start: Callable[..., Receiving], sender: OutboundClient
) -> None:
    running = start("--secret", SECRET)
    url = await running.url()
    first, second = Row(uuid4(), event_metadata={"path": "a\x1b[31m.txt"}), Row(uuid4(), 43, event_type="delete")
    for row in (first, second, first):
        assert await deliver(sender, url, row) is Outcome.DELIVERED
    assert running.end() == 0
    assert running.lines() == [
        f'2026-01-15 10:30:00.000Z        42  upload  {first.file_id}  {{"path":"a\\u001b[31m.txt"}}',
        f"2026-01-15 10:30:00.000Z        43  delete  {second.file_id}",
        f'2026-01-15 10:30:00.000Z        42  upload  {first.file_id}  {{"path":"a\\u001b[31m.txt"}}  (again)',
    ]
    assert running.errors() == f"listening at {url}; Ctrl-C ends it\n"


async def test_the_secret_may_come_from_the_environment(
    start: Callable[..., Receiving], sender: OutboundClient
) -> None:
    running = start(SYNC_WEBHOOK_SECRET=SECRET)
    url = await running.url()
    assert await deliver(sender, url, Row(uuid4())) is Outcome.DELIVERED
    assert await deliver(sender, url, Row(uuid4()), new_secret()) is Outcome.FAILED
    assert running.end(signal.SIGTERM) == 0
    assert len(running.lines()) == 1


async def test_what_the_public_library_signs_is_taken(start: Callable[..., Receiving]) -> None:
    running = start("--secret", SECRET)
    url, at, row = await running.url(), datetime.now(UTC), Row(uuid4())
    body = event_body(row, LEDGER)
    headers = {"webhook-id": str(row.id), "webhook-timestamp": str(int(at.timestamp()))}
    headers["webhook-signature"] = Webhook(SECRET).sign(str(row.id), at, body.decode())
    async with httpx.AsyncClient() as client:
        assert (await client.post(url, content=body, headers=headers)).status_code == 204
    assert running.end() == 0


async def test_each_refused_request_is_a_clear_line(start: Callable[..., Receiving], sender: OutboundClient) -> None:
    running = start("--secret", SECRET)
    url, now = await running.url(), datetime.now(UTC)
    assert await deliver(sender, url, Row(uuid4()), new_secret()) is Outcome.FAILED
    assert await deliver(sender, url, Row(uuid4()), at=now - timedelta(minutes=6)) is Outcome.FAILED
    hostile = {
        "{}": (400, "no CloudEvent"),
        "[" * 5000: (400, "no CloudEvent"),
        "\xff": (401, "not of the form"),
        event_body(Row(uuid4()), LEDGER).decode().replace('"position":42', '"position":"x"'): (400, "no CloudEvent"),
        event_body(Row(uuid4()), LEDGER).decode(): (400, "webhook-id is not the id"),
        "x" * 1_048_577: (413, "too large"),
    }
    async with httpx.AsyncClient() as client:
        answers = [await client.get(url), await client.post(url, content=b"{}")]
        assert [answer.status_code for answer in answers] == [405, 401]
        assert answers[0].headers["allow"] == "POST"
        for body, (status, _) in hostile.items():
            content = body.encode("latin-1")
            answer = await client.post(url, content=content, headers=signed_headers("other", now, content, [SECRET]))
            assert answer.status_code == status
    assert running.end() == 0
    assert running.lines() == []
    told = running.errors().splitlines()[1:]
    reasons = [
        "No matching signature",
        "timestamp too old",
        "only POST",
        "Missing required headers",
        *(why for _, why in hostile.values()),
    ]
    assert len(told) == len(reasons)
    for line, reason in zip(told, reasons, strict=True):
        assert reason in line
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z  4\d\d  ", line)
        assert line.isprintable()


async def test_without_a_secret_it_says_so_and_takes_all(
    start: Callable[..., Receiving], sender: OutboundClient
) -> None:
    running = start()
    url = await running.url()
    assert await deliver(sender, url, Row(uuid4()), new_secret()) is Outcome.DELIVERED
    subscription = uuid4()
    ping = ping_body(UUID(int=1), LEDGER, subscription, datetime.now(UTC))
    assert (await sender.send(url, {"webhook-id": str(UUID(int=1))}, ping)).status_code == 204
    assert running.end() == 0
    assert "signatures are not verified" in running.errors()
    assert running.lines()[1] == f"ping of subscription {subscription}"


async def test_a_message_of_a_type_that_is_not_known_is_taken(
    start: Callable[..., Receiving], sender: OutboundClient
) -> None:
    running, as_json = start("--secret", SECRET), start("--secret", SECRET, "--json")
    row, long = Row(uuid4(), event_type="\nrename\x1b[31m"), Row(uuid4(), event_type="x" * 10_000)
    for each in (running, as_json):
        url = await each.url()
        for one in (row, row, long):
            assert await deliver(sender, url, one) is Outcome.DELIVERED
        assert each.end() == 0
        assert len(each.errors().splitlines()) == 1
    known = [r"message of the type 'sync.file.\nrename\x1b[31m', which is not known here", "  (again)"]
    assert running.lines()[:2] == [known[0], "".join(known)]
    assert len(running.lines()[2]) < 200
    assert json.loads(as_json.lines()[0]) == json.loads(event_body(row, LEDGER))


async def test_a_share_fails_on_purpose(start: Callable[..., Receiving], sender: OutboundClient) -> None:
    always, half = start("--secret", SECRET, "--fail-rate", "1"), start("--secret", SECRET, "--fail-rate", "0.5")
    url = await always.url()
    assert [await deliver(sender, url, Row(uuid4())) for _ in range(3)] == [Outcome.FAILED] * 3
    url = await half.url()
    outcomes = {await deliver(sender, url, Row(uuid4())) for _ in range(100)}
    assert outcomes == {Outcome.FAILED, Outcome.DELIVERED}
    assert (always.end(), half.end()) == (0, 0)
    assert always.lines() == []
    assert always.errors().count("500  failed on purpose") == 3


async def test_events_as_json(start: Callable[..., Receiving], sender: OutboundClient) -> None:
    running = start("--secret", SECRET, "--json")
    url, row = await running.url(), Row(uuid4(), event_metadata={"a": "ü\n"})
    for _ in range(2):
        assert await deliver(sender, url, row) is Outcome.DELIVERED
    assert running.end() == 0
    assert [json.loads(line) for line in running.lines()] == [json.loads(event_body(row, LEDGER))] * 2


async def test_a_reader_that_goes_away_ends_it_quietly(sender: OutboundClient, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    command = f"{sys.executable} -m app receive --port 0 2>{errors} | head -n 1; exit ${{PIPESTATUS[0]}}"
    with _start(["/bin/bash", "-c", command], subprocess.PIPE, None) as running:
        await until(lambda: errors.exists() and "listening" in errors.read_text(), DEADLINE_SECONDS)
        url = read_address(errors.read_text())
        await until(lambda: _is_over(running, sender, url), DEADLINE_SECONDS)
        assert running.returncode == 0
    assert "Traceback" not in errors.read_text()


async def _is_over(running: "subprocess.Popen[bytes]", sender: OutboundClient, url: str) -> bool:
    await deliver(sender, url, Row(uuid4()))
    return running.poll() is not None


async def test_colours_on_a_terminal_only(sender: OutboundClient, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    errors = tmp_path / "errors"
    with (
        errors.open("wb") as file,
        _start([sys.executable, "-m", "app", "receive", "--port", "0"], theirs, file.fileno()) as running,
    ):
        await until(lambda: "listening" in errors.read_text(), DEADLINE_SECONDS)
        await deliver(sender, read_address(errors.read_text()), Row(uuid4()))
        assert b"\x1b[32mupload" in os.read(ours, 4096)
        running.send_signal(signal.SIGINT)
        assert running.wait(DEADLINE_SECONDS) == 0
    assert "\x1b" not in errors.read_text()
    for end in (ours, theirs):
        os.close(end)


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["receive", "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"cannot listen on port {port} of 127.0.0.1: Address already in use\n"


@pytest.mark.parametrize(
    "arguments",
    [("--port", "65536"), ("--port", "x"), ("--secret", "hunter2"), ("--fail-rate", "1.1"), ("--fail-rate", "nan")],
    ids=" ".join,
)
def test_arguments_that_make_no_sense(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["receive", *arguments])
    message = capsys.readouterr().err
    assert arguments[0] in message
    assert "hunter2" not in message


def test_a_secret_of_the_environment_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNC_WEBHOOK_SECRET", "hunter2")
    with pytest.raises(SystemExit, match="2"):
        main(["receive"])
    assert "hunter2" not in capsys.readouterr().err


def test_the_help_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receive", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("--port", "--secret", "--fail-rate", "--json", "SYNC_WEBHOOK_SECRET", "401", "Ctrl-C"):
        assert word in text
