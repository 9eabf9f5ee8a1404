"""Shows Sync Service at work (`make demo`): a real service, a watched folder, and the processing of its events.

A second act shows how a block that another service has lost is found. Everything happens in a temporary folder, on free
ports, and is cleaned up. The exit status is 0 only if every expected event arrived and was processed, the service has
the right state of every file, and the finding was opened and resolved.
"""

import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from demo_consistency import show_consistency
from demo_process import DemoFailed, Service, WatcherOutput, running_service, running_siblings, running_watcher
from demo_report import Event, FileState, event_table, file_table, new_blocks, path_of
from rich.console import Console
from watcher.block import BLOCK_BYTES

ARRIVAL_SECONDS = 60.0
POLL_SECONDS = 0.1
PLAIN_WIDTH = 118

Expected = list[tuple[str, str]]
FINAL_STATES = {
    "draft.txt": ("deleted", 2),
    "film.mkv": ("present", 2),
    "notes/today.txt": ("present", 2),
    "notes/tomorrow.txt": ("present", 1),
    "photos/harbour.jpg": ("deleted", 2),
    "photos/port.jpg": ("present", 1),
}


class Demo:
    """The folder, the service, and the expected events and files so far."""

    def __init__(self, folder: Path, api: httpx.Client, console: Console, output: WatcherOutput) -> None:
        self.folder = folder
        self._api = api
        self._console = console
        self._output = output
        self._expected: Counter[tuple[str, str]] = Counter()

    def show(self, title: str, change: Callable[[Path], None], expected: Expected) -> None:
        """Change the folder and wait until the service has processed the events."""
        self.prepare(title, change, expected)
        self.wait()

    def prepare(self, title: str, change: Callable[[Path], None], expected: Expected) -> None:
        """Change the folder; the events follow later."""
        self._console.rule(title, align="left")
        change(self.folder)
        self._expected.update(expected)

    def wait(self) -> None:
        """Wait for the events of all changes, until the watcher has shown their processing.

        Raises:
            DemoFailed: they do not come, or other events do.
        """
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while not self._is_done():
            if time.monotonic() >= deadline:
                raise DemoFailed("not every event has arrived and been processed in time")
            time.sleep(POLL_SECONDS)

    def _is_done(self) -> bool:
        events = self.events()
        arrived = Counter((event["event_type"], path_of(event)) for event in events)
        if arrived - self._expected:
            raise DemoFailed(f"unexpected events: {dict(arrived - self._expected)}")
        is_shown = self._output.processed == len(events)
        return is_shown and arrived == self._expected and all(event["processed"] for event in events)

    def events(self) -> list[Event]:
        """All events, oldest first."""
        events: list[Event] = self._get("/sync-events?limit=1000")
        return sorted(events, key=lambda event: event["position"])

    def files(self) -> dict[str, FileState]:
        """The service's state of each file, by path."""
        ids = {path_of(event): event["file_id"] for event in self.events()}
        return {path: self._get(f"/files/{file_id}") for path, file_id in ids.items()}

    def _get(self, path: str) -> Any:
        return self._api.get(path).raise_for_status().json()


def main() -> int:
    """Run the demo and return its exit status."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="sync-demo-") as work:
            _run(Path(work), console)
    except (DemoFailed, httpx.HTTPError) as error:
        console.print(f"The demo failed: {error}", style="bold red", markup=False)
        return 1
    seconds = time.monotonic() - started
    console.print(
        f"Every event was processed, every file state is right, a lost block was found ({seconds:.1f} seconds).",
        style="bold green",
    )
    return 0


def _run(work: Path, console: Console) -> None:
    """Both acts, with one service."""
    secret = secrets.token_hex(32)
    local = {"SECRET_KEY": secret, "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true", "WEBHOOK_PORTS": "0"}
    with (
        running_service(work, **local) as service,
        httpx.Client(base_url=service.url, headers=service.authorization, timeout=5.0) as api,
    ):
        console.rule(f"Sync Service runs at {service.url}")
        output = WatcherOutput()
        demo = Demo(work / "folder", api, console, output)
        _play(demo, service, output)
        _report(demo, console)
        with running_siblings(work, secret) as siblings:
            show_consistency(api, siblings, service.authorization, console)


def _play(demo: Demo, service: Service, output: WatcherOutput) -> None:
    uploads = ["draft.txt", "film.mkv", "notes/today.txt", "photos/harbour.jpg"]
    demo.prepare("Four files, one of 10 MiB", _make_files, [("upload", path) for path in uploads])
    with running_watcher(demo.folder, service, output):
        demo.wait()
        demo.show("One block of the large file changes", _change_a_block, [("update", "film.mkv")])
        demo.show("A file is added", _add, [("upload", "notes/tomorrow.txt")])
        moves = [("upload", "photos/port.jpg"), ("delete", "photos/harbour.jpg")]
        demo.show("A file is renamed", _rename, moves)
    changes = [("update", "notes/today.txt"), ("delete", "draft.txt")]
    demo.prepare("The watcher is stopped; one file changes, another is deleted", _change_and_delete, changes)
    with running_watcher(demo.folder, service, output):
        demo.wait()


def _make_files(folder: Path) -> None:
    film = random.Random(1).randbytes(2 * BLOCK_BYTES + BLOCK_BYTES // 2)  # noqa: S311 - the same film each time
    for path, content in {
        "draft.txt": b"Dear Sir or Madam\n",
        "film.mkv": film,
        "notes/today.txt": b"Mend the nets.\n",
        "photos/harbour.jpg": film[:300_000],
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def _change_a_block(folder: Path) -> None:
    with (folder / "film.mkv").open("r+b") as film:
        film.seek(BLOCK_BYTES + 1000)
        film.write(b"a new scene")


def _add(folder: Path) -> None:
    (folder / "notes/tomorrow.txt").write_text("Sail.\n")


def _rename(folder: Path) -> None:
    (folder / "photos/harbour.jpg").rename(folder / "photos/port.jpg")


def _change_and_delete(folder: Path) -> None:
    (folder / "notes/today.txt").write_text("The nets are mended.\n")
    (folder / "draft.txt").unlink()


def _report(demo: Demo, console: Console) -> None:
    """Show the tables and check what they say.

    Raises:
        DemoFailed: the service has another state than expected.
    """
    events, files = demo.events(), demo.files()
    console.print(event_table(events), file_table(files))
    states = {path: (file["state"], file["revision"]) for path, file in files.items()}
    if states != FINAL_STATES:
        raise DemoFailed(f"the files should be {FINAL_STATES}")
    if anomalies := [event["event_id"] for event in events if event["anomaly"]]:
        raise DemoFailed(f"these events have anomalies: {anomalies}")
    before, after = (event["metadata"]["blocks"] for event in events if path_of(event) == "film.mkv")
    if len(after) != 3 or new_blocks(before, after) != 1:
        raise DemoFailed("of the large file, one block of three should be new")


if __name__ == "__main__":
    raise SystemExit(main())
