"""A small HTTP server that behaves as Sync Service does towards a client, and misbehaves on request."""

import json
import socket
import struct
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from app.events.schemas import PROCESSED_EVENT

TOKEN = "token-of-the-test"
Fault = Callable[["_Handler"], None]


@dataclass(slots=True)
class Recorded:
    """An event that the service has."""

    key: str
    body: dict[str, Any]
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def summary(self) -> tuple[str, str]:
        """Its type and path."""
        return self.body["event_type"], self.body["metadata"]["path"]


class ServiceDouble:
    """Records events, each once per idempotency key. A fault is used up by one POST, in the order they were added."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.keys: list[str] = []
        self.faults: deque[Fault] = deque()
        self.lock = threading.Lock()
        double = self

        class Handler(_Handler):
            service = double

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def summaries(self) -> list[tuple[str, str]]:
        """Type and path of every event, in order."""
        return [event.summary for event in self.events]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def record(self, key: str, body: dict[str, Any]) -> tuple[Recorded, bool]:
        """The event with this key, and whether it was there before."""
        with self.lock:
            for event in self.events:
                if event.key == key:
                    assert event.body == body, "the same key came with another body"
                    return event, True
            self.events.append(Recorded(key, body))
            return self.events[-1], False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: ServiceDouble

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.key = self.headers["Idempotency-Key"]
        with self.service.lock:
            self.service.keys.append(self.key)
            fault = self.service.faults.popleft() if self.service.faults else None
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, {"title": "Unauthorized", "detail": "The token is not valid."})
        elif fault:
            fault(self)
        else:
            self.accept()

    def do_GET(self) -> None:
        events = {event.event_id: position for position, event in enumerate(self.service.events, 1)}
        position = events[self.path.rpartition("/")[2]]
        self.answer(200, PROCESSED_EVENT | {"position": position})

    def accept(self) -> None:
        event, replayed = self.service.record(self.key, self.body)
        content = {"message": "Sync event created successfully", "event_id": event.event_id}
        self.answer(201, content, {"Idempotency-Replayed": "true"} if replayed else {})

    def answer(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep quiet."""


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Fault:
    """The service answers with a problem document."""
    return lambda handler: handler.answer(status, {"title": "Problem", "detail": detail, **more}, headers)


def reset_unread(handler: _Handler) -> None:
    """The connection breaks before the service has recorded the event."""
    handler.reset()


def reset_after_accepting(handler: _Handler) -> None:
    """The service has recorded the event, but its answer is lost."""
    handler.service.record(handler.key, handler.body)
    handler.reset()
