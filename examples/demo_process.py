"""Starts and stops the programs that the demo shows."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
START_SECONDS = 60.0
STOP_SECONDS = 30.0
LISTENING = re.compile(r"Uvicorn running on (http://\S+:\d+) ")
# A demo must not depend on the settings of its user, so few variables of the environment are passed on.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMPDIR", "VIRTUAL_ENV")


class DemoFailed(Exception):
    """A step had an unexpected result, which the message names."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and a token for it."""

    url: str
    token: str

    @property
    def authorization(self) -> dict[str, str]:
        """The header that every request needs."""
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True)
class Siblings:
    """The URLs of a running metadata service and its block store."""

    metadata_url: str
    block_url: str


@dataclass(slots=True)
class WatcherOutput:
    """The watcher's output so far: `processed` counts the events that it reported as processed."""

    processed: int = 0

    def show(self, line: str) -> None:
        """Pass on one line."""
        print(f"  watcher | {line}", end="", flush=True)
        self.processed += line.split()[1:2] == ["processed"]


@contextmanager
def running_service(work: Path, **more: str) -> Iterator[Service]:
    """A real service with its own SQLite database in the folder `work`, in local mode, with `more` settings.

    Raises:
        DemoFailed: it does not start.
    """
    settings = {
        "DATABASE_URL": f"sqlite:///{work / 'demo.db'}",
        "AUTH0_DOMAIN": "",
        "SECRET_KEY_FILE": str(work / "secret_key"),
        "SYNC_EVENT_PROCESS_INTERVAL": "0.5",
        "PYTHONPATH": str(EXAMPLES.parent),
    }
    environment = _inherited() | settings | more
    with _running_app(["app.main:app"], environment, work / "sync-service.log") as url:
        yield Service(url, _mint_token(environment, work))


@contextmanager
def running_siblings(work: Path, secret: str) -> Iterator[Siblings]:
    """The services of `siblings` with their data in the folder `work`; `secret` signs the tokens that they accept.

    Raises:
        DemoFailed: one of them does not start.
    """
    environment = _inherited() | {"AUTH0_DOMAIN": "", "SECRET_KEY": secret, "PYTHONPATH": str(EXAMPLES)}
    store = environment | {"FOLDER": str(work / "blocks")}
    with _running_app(["--factory", "siblings.block_store:create_app"], store, work / "block-store.log") as blocks:
        metadata = environment | {"DATABASE": str(work / "metadata.db"), "BLOCK_STORAGE_SERVICE_URL": blocks}
        command = ["--factory", "siblings.metadata_service:create_app"]
        with _running_app(command, metadata, work / "metadata-service.log") as files:
            yield Siblings(files, blocks)


@contextmanager
def running_watcher(folder: Path, service: Service, output: WatcherOutput) -> Iterator[None]:
    """A watcher of `folder`, which prints its actions.

    Raises:
        DemoFailed: it did not end well after the signal.
    """
    command = [sys.executable, str(EXAMPLES / "watch_folder.py"), str(folder), "--url", service.url, "--settle", "0.3"]
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        env=_inherited()
        | {"SYNC_TOKEN": service.token, "PYTHONIOENCODING": "utf-8", "XDG_STATE_HOME": str(folder.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        printer = threading.Thread(target=_print_lines, args=(process, output))
        printer.start()
        try:
            yield
        finally:
            status = _stop(process)
            printer.join()
    if status and os.name == "posix":
        raise DemoFailed(f"the watcher ended with status {status}")


@contextmanager
def _running_app(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """Uvicorn with an application, in the folder of `log`; returns its URL."""
    command = [sys.executable, "-m", "uvicorn", *arguments, "--port", "0"]
    with (
        log.open("wb") as stream,
        subprocess.Popen(  # noqa: S603 - the command is ours
            command, env=environment, cwd=log.parent, stdout=stream, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield _await_url(process, log)
        finally:
            _stop(process)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def _await_url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The URL of a service once it listens: the system chooses the port, and uvicorn's log names it."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := LISTENING.search(log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise DemoFailed(f"{log.stem} does not start:\n{log.read_text(errors='replace')[-4000:]}")


def _mint_token(environment: dict[str, str], work: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "app", "token"], env=environment, cwd=work, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise DemoFailed(f"no token could be minted:\n{result.stderr}")
    return result.stdout.strip()


def _print_lines(process: "subprocess.Popen[str]", output: WatcherOutput) -> None:
    for line in process.stdout or ():
        output.show(line)


def _stop(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> int:
    """End a process in good order, and with force when that takes too long; returns its exit status."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
