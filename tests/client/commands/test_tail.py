"""`python -m app tail` in processes of its own, against a real service in local mode."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.cli import main
from sync_client import NewEvent, SyncClient
from tests.client.conftest import PATIENT
from tests.conftest import LOCAL_MODE, ROOT
from tests.support.fork_server import ForkServer
from tests.support.process import ServiceProcess
from tests.support.waiting import until

DEADLINE_SECONDS = 60


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What the terminal shows does not depend on the database."""
    return sqlite_url


@pytest.fixture
def service(start_service: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A service in local mode."""
    return start_service(**LOCAL_MODE)


@pytest.fixture
def local_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the service, for whoever mints tokens."""
    for name, value in LOCAL_MODE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SYNC_TOKEN", raising=False)


@pytest.fixture
def token(local_mode: None, capsys: pytest.CaptureFixture[str]) -> str:
    """A token as `python -m app token` mints it."""
    assert main(["token"]) == 0
    return capsys.readouterr().out.strip()


@pytest.fixture
async def sync(service: ServiceProcess, token: str) -> AsyncIterator[SyncClient]:
    """A client to record events with."""
    async with SyncClient(service.url, token, policy=PATIENT) as client:
        yield client


class Tail:
    """A running `tail`; its output is collected in a file."""

    def __init__(
        self, fork_server: ForkServer, folder: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> None:
        self._output, self._errors = folder / f"{uuid4()}.out", folder / f"{uuid4()}.err"
        command = ("app", "tail", *arguments)
        self.process = fork_server.start(command, {**os.environ, **(variables or {})}, self._output, self._errors)

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def errors(self) -> str:
        return self._errors.read_text()

    def interrupt(self) -> int:
        """Do what Ctrl-C does, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_SECONDS)


@pytest.fixture
def tail(fork_server: ForkServer, tmp_path: Path, local_mode: None) -> Iterator[Callable[..., Tail]]:
    """Start `tail`; it is ended after the test."""
    started: list[Tail] = []

    def start(*arguments: str, **variables: str) -> Tail:
        started.append(Tail(fork_server, tmp_path, *arguments, variables=variables))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def uploads(count: int) -> list[NewEvent]:
    return [NewEvent(uuid4(), "upload", {"path": f"{number}.txt"}) for number in range(count)]


async def test_changes_are_lines_and_ctrl_c_is_a_good_end(
    sync: SyncClient, service: ServiceProcess, tail: Callable[..., Tail]
) -> None:
    events = uploads(3)
    await sync.create_many(events)
    running = tail("--url", service.url, "--from", "beginning")
    await until(lambda: len(running.lines()) == 3)
    last = NewEvent(uuid4(), "delete")
    await sync.create_many([last])
    await until(lambda: len(running.lines()) == 4)
    assert running.interrupt() == 0
    assert running.errors() == ""
    words = [line.split() for line in running.lines()]
    assert [word[2:5] for word in words] == [
        [str(number), event.event_type, str(event.file_id)] for number, event in enumerate([*events, last], 1)
    ]
    assert words[0][5] == '{"path":"0.txt"}'
    assert "\x1b" not in "".join(running.lines())


async def test_a_cursor_file_loses_and_repeats_nothing(
    sync: SyncClient, service: ServiceProcess, tail: Callable[..., Tail], tmp_path: Path
) -> None:
    options = ("--url", service.url, "--from", "beginning", "--cursor-file", str(tmp_path / "cursor"), "--json")
    await sync.create_many(uploads(700))
    first = tail(*options)
    await until(lambda: len(first.lines()) == 700)
    assert first.interrupt() == 0
    await sync.create_many(uploads(300))
    second = tail(*options)
    await until(lambda: len(second.lines()) >= 300)
    assert second.interrupt() == 0
    positions = [json.loads(line)["position"] for line in (*first.lines(), *second.lines())]
    assert positions == list(range(1, 1001))


async def test_ctrl_c_in_the_middle_of_the_feed_loses_nothing(
    sync: SyncClient, service: ServiceProcess, tail: Callable[..., Tail], tmp_path: Path
) -> None:
    options = ("--url", service.url, "--from", "beginning", "--cursor-file", str(tmp_path / "cursor"), "--json")
    await sync.create_many(uploads(4000))
    seen: list[int] = []
    for _ in range(3):
        running = tail(*options)
        await until(lambda running=running: len(running.lines()) > 50)  # type: ignore[misc]  # no type for the default
        assert running.interrupt() == 0
        assert running.errors() == ""
        positions = [json.loads(line)["position"] for line in running.lines()]
        assert positions == list(range(positions[0], positions[-1] + 1))
        if seen:
            assert positions[0] in {seen[-1], seen[-1] + 1}, "at most the last line comes again"
        seen += positions
        await sync.create_many(uploads(100))


async def test_filters_and_from_now_on(sync: SyncClient, service: ServiceProcess, tail: Callable[..., Tail]) -> None:
    await sync.create_many(uploads(5))
    file_id = uuid4()
    running = tail("--url", service.url, "--json", "--event-type", "delete", "--event-type", "update")
    of_file = tail("--url", service.url, "--json", "--file-id", str(file_id), "--from", "beginning")

    async def is_heard() -> bool:
        await sync.create(file_id, "delete")
        return bool(running.lines() and of_file.lines())

    await until(is_heard)
    for each in (running, of_file):
        first = json.loads(each.lines()[0])
        assert (UUID(first["file_id"]), first["event_type"]) == (file_id, "delete")
        assert each.interrupt() == 0


async def test_a_reader_that_goes_away_ends_it_quietly(sync: SyncClient, service: ServiceProcess, token: str) -> None:
    await sync.create_many(uploads(2000))
    command = f"{sys.executable} -m app tail --url {service.url} --from beginning | head -n 2; echo ${{PIPESTATUS[0]}}"
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", command],
        env={**os.environ, "SYNC_TOKEN": token, "AUTH0_DOMAIN": "elsewhere.example"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[2] == "0"


async def test_an_outage_is_told_once_and_waited_for(
    sync: SyncClient, service: ServiceProcess, tail: Callable[..., Tail], start_service: Callable[..., ServiceProcess]
) -> None:
    running = tail("--url", service.url, "--from", "beginning")
    await sync.create(uuid4(), "upload")
    await until(lambda: len(running.lines()) == 1)
    service.kill()
    await until(lambda: "trying again and again" in running.errors())
    await asyncio.sleep(1)  # several attempts
    assert len(running.errors().splitlines()) <= 3, "one line for each way to fail"
    assert running.process.poll() is None
    assert running.interrupt() == 0


@pytest.mark.usefixtures("local_mode")
def test_colours_on_a_terminal_only(
    service: ServiceProcess, token: str, fork_server: ForkServer, tmp_path: Path
) -> None:
    async def record() -> None:
        async with SyncClient(service.url, token, policy=PATIENT) as sync:
            await sync.create(uuid4(), "upload")

    asyncio.run(record())
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
    command = ("app", "tail", "--url", service.url, "--from", "beginning")
    process = fork_server.start(command, environment, Path(os.ttyname(theirs)), tmp_path / "errors")
    shown = os.read(ours, 10_000)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 0
    os.close(ours)
    os.close(theirs)
    assert b"\x1b[32mupload\x1b[0m" in shown


@pytest.mark.usefixtures("local_mode")
@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--from", "nonsense"], {}, "the service says 400 Bad Request Invalid or damaged cursor"),
        (["--from", "a b"], {}, "this is not a cursor"),
        (["--cursor-file", "/proc/version"], {}, "/proc/version contains no cursor"),
        (["--cursor-file", "/nowhere/cursor"], {}, "/nowhere/cursor cannot be written"),
        ([], {"SYNC_TOKEN": "wrong"}, "the service says 401 Unauthorized"),
        ([], {"SYNC_TOKEN": "two words"}, "characters that no token has"),
        ([], {"AUTH0_DOMAIN": "example.eu.auth0.com"}, "set SYNC_TOKEN to one from example.eu.auth0.com"),
        ([], {"SECRET_KEY": "-----BEGIN x"}, "SECRET_KEY"),
    ],
    ids=str,
)
def test_what_can_not_go_on_is_one_line(
    arguments: list[str],
    variables: dict[str, str],
    message: str,
    local_service: ServiceProcess,
    fork_server: ForkServer,
) -> None:
    command = ("app", "tail", "--url", local_service.url, *arguments)
    done = fork_server.run(command, {**os.environ, **variables}, DEADLINE_SECONDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "ftp://x"], "must begin with http"),
        (["--url", "http://x:port"], "--url"),
        (["--file-id", "x"], "must be a UUID"),
        (["--event-type", "move"], "is not one of"),
    ],
)
def test_nonsense_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["tail", *arguments])
    assert refused.value.code == 2
    assert message in capsys.readouterr().err
