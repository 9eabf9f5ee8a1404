"""Gives a service a believable history of a day, the same with each run: for pictures of the console, or to try it.

The database is a SQLite file that the service uses meanwhile: events are recorded over HTTP, and then backdated.
"""

import json
import math
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx

EVENTS = 12_000
BATCH = 500
LATE_EVENTS = 60  # recorded while the subscriptions are there
DAY = timedelta(days=1)
PATIENCE_SECONDS = 120
LOST = 3  # files that the metadata service does not hold any more
FOLDERS = ("contracts/2026", "design/website", "finance/invoices", "photos/harbour", "research/papers", "team/minutes")
NAMES = ("agreement", "budget", "cover", "draft", "ledger", "meeting", "notes", "offer", "plan", "report", "sketch")
ENDINGS = ("docx", "jpg", "md", "pdf", "png", "xlsx")
SUBSCRIBERS = (("/hooks/metadata", "metadata service"), ("/index", "search index"), ("/thumbnails", "thumbnails"))
ERRORS = (
    ("OperationalError: the row of the file stayed locked for 10 s", 6),
    ("ValueError: metadata.size is not a number: '12 MB'", 4),
    ("KeyError: 'path'", 1),
)


@dataclass
class Receiver:
    """A server on a loopback port: a subscriber that fails at `/index`, and the inventory of the files it holds."""

    files: set[UUID] = field(default_factory=set)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """It listens while the block runs."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def inventory(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """The response of a service that holds files (docs/consistency.md)."""
        if path != "/inventory":
            file_id = UUID(path.rpartition("/")[2])
            return (200, {"file_id": str(file_id)}) if file_id in self.files else (404, {})
        after = UUID(query["after"][0]) if "after" in query else UUID(int=0)
        rest = sorted(one for one in self.files if one > after)
        page = rest[: int(query["limit"][0])]
        following = str(page[-1]) if len(rest) > len(page) else None
        return 200, {"items": [{"file_id": str(one)} for one in page], "next": following, "total": len(self.files)}


def make_events(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Events of files that are uploaded, updated and sometimes deleted."""
    chance = random.Random(seed)  # noqa: S311 - the same history each time
    paths = {UUID(int=chance.getrandbits(128), version=4): _path(chance) for _ in range(count // 5)}
    waiting, present = list(paths), list[UUID]()
    events: list[dict[str, Any]] = []
    for _ in range(count):
        if waiting and (not present or chance.random() < 1 / 5):
            file_id, event_type = waiting.pop(), "upload"
            present.append(file_id)
        else:
            file_id = chance.choice(present)
            event_type = "delete" if len(present) > count // 40 and chance.random() < 0.06 else "update"
            if event_type == "delete":
                present.remove(file_id)
                waiting.insert(0, file_id)
        event: dict[str, Any] = {"file_id": str(file_id), "event_type": event_type}
        if event_type != "delete":
            event["metadata"] = {"path": paths[file_id], "size": chance.randrange(2_000, 40_000_000)}
        events.append(event)
    return events


def present_files(events: list[dict[str, Any]]) -> set[UUID]:
    """The files that exist after the events."""
    last = {UUID(event["file_id"]): event["event_type"] for event in events}
    return {file_id for file_id, event_type in last.items() if event_type != "delete"}


def times_of_a_day(count: int, now: datetime) -> list[datetime]:
    """Rising times within the day before `now`: many now, few twelve hours ago, and a burst half an hour ago."""
    weights = [_weight(minute) for minute in range(24 * 60)]
    total, times, due = sum(weights), list[datetime](), 0.0
    for minute, weight in enumerate(weights):
        due += weight * count / total
        fresh = int(due) - len(times)
        begin = now - DAY + timedelta(minutes=minute)
        times += [begin + timedelta(seconds=60 * number / fresh) for number in range(fresh)]
    return [*times, *[now] * (count - len(times))]


def write_history(api: httpx.Client, database: Path, receiver: Receiver) -> dict[str, str]:
    """Record the history; by kind of thing a fragment of the console: `event`, `file`, `subscription`, `delivery`."""
    events = make_events(EVENTS)
    early, late = events[:-LATE_EVENTS], events[-LATE_EVENTS:]
    for start in range(0, len(early), BATCH):
        _post(api, early[start : start + BATCH])
    _wait_until_processed(api)
    subscriptions = [_subscribe(api, receiver.url + path, description) for path, description in SUBSCRIBERS]
    _post(api, late)
    _wait_until_processed(api)
    date_back(database, datetime.now(UTC))
    held = sorted(present_files(events))
    receiver.files = set(held[LOST:])
    _compare(api, receiver.url)
    [event] = api.get("/sync-events", params={"event_type": "update", "limit": 1}).json()
    deliveries = api.get(f"/subscriptions/{subscriptions[1]}/deliveries", params={"limit": 100}).json()
    delivery = max(deliveries, key=lambda one: int(one["attempts"]))
    return {
        "event": f"event/{event['event_id']}",
        "file": f"file/{event['file_id']}",
        "subscription": f"subscription/{subscriptions[1]}",
        "delivery": f"delivery/{delivery['id']}",
    }


def date_back(database: Path, now: datetime) -> None:
    """Spread the events over the day before `now`, and set a few aside."""
    times = times_of_a_day(EVENTS, now)
    rows = [(f"{at:%Y-%m-%d %H:%M:%S.%f}", position) for position, at in enumerate(times, start=1)]
    failed = [error for error, count in ERRORS for _ in range(count)]
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.executemany("UPDATE sync_events SET created_at = ?, processed_at = ?1 WHERE position = ?2", rows)
        connection.executemany(
            "UPDATE sync_events SET processed = 0, processed_at = NULL, retry_state = 'failed', attempts = 5, "
            "last_error = ? WHERE position = ?",
            [(error, EVENTS - 40 - 17 * number) for number, error in enumerate(failed)],
        )


def _weight(minute: int) -> float:
    """The load of a minute of the last day; the last hour has a burst."""
    rhythm = 1.2 + math.cos(2 * math.pi * (minute + 60) / (24 * 60))
    burst = 3 * math.exp(-(((minute - 24 * 60 + 35) / 6) ** 2))
    return rhythm * (1 + 0.25 * math.sin(minute * 1.7) * math.sin(minute / 7)) + burst


def _path(chance: random.Random) -> str:
    number = chance.randrange(1, 400)
    return f"{chance.choice(FOLDERS)}/{chance.choice(NAMES)}-{number}.{chance.choice(ENDINGS)}"


def _post(api: httpx.Client, events: list[dict[str, Any]]) -> None:
    api.post("/sync-events/batch", json={"events": events}).raise_for_status()


def _wait_until_processed(api: httpx.Client) -> None:
    while api.get("/health").json()["unprocessed_events"]:
        time.sleep(0.2)


def _subscribe(api: httpx.Client, url: str, description: str) -> str:
    response = api.post("/subscriptions", json={"url": url, "description": description})
    subscription_id: str = response.raise_for_status().json()["id"]
    return subscription_id


def _compare(api: httpx.Client, url: str) -> None:
    """Compare the whole inventory, and check the differences a second time."""
    source = {"name": "metadata service", "kind": "contract", "url": url, "grace_seconds": 0}
    source_id = api.post("/consistency/sources", json=source).raise_for_status().json()["id"]
    check = {"source": source_id, "scope": {"all": True}}
    api.post("/consistency/checks", json=check).raise_for_status()
    found = _wait_for_findings(api, "suspected")
    named = {"source": source_id, "scope": {"file_ids": [one["file_id"] for one in found]}}
    api.post("/consistency/checks", json=named).raise_for_status()
    _wait_for_findings(api, "open")


def _wait_for_findings(api: httpx.Client, state: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found: list[dict[str, Any]] = api.get("/consistency/findings", params={"state": state}).json()
        if len(found) == LOST:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"there are not {LOST} findings that are {state}")


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, content = receiver.inventory(parts.path, parse_qs(parts.query))
            self._send(status, json.dumps(content).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            fails = self.path == SUBSCRIBERS[1][0]
            self._send(500 if fails else 204, b"index is read-only: no space left on device" if fails else b"")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_message: Any) -> None:
            """Write no log."""

    return Handler
