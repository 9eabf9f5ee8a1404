"""Clients that post events to real processes as fast as they are answered."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from tests.support.raw_http import Answer, RawConnection, connect

RECONNECT_SECONDS = 0.01


@dataclass
class Load:
    """What the clients saw. `answered` are ids of events, `sent` ids of files, `refused` are statuses."""

    answered: list[UUID] = field(default_factory=list)
    sent: set[UUID] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    unanswered: int = 0

    async def post(self, connection: RawConnection, token: str) -> Answer | None:
        """Post one event of a file of its own; a request without an answer is counted as sent alone."""
        file_id = uuid4()
        body = json.dumps({"file_id": str(file_id), "event_type": "upload"})
        self.sent.add(file_id)
        await connection.send(
            f"POST /sync-events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {file_id}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        try:
            answer = await connection.answer()
        except (EOFError, OSError):
            self.unanswered += 1
            return None
        if answer.status == 201:
            self.answered.append(UUID(json.loads(answer.body)["event_id"]))
        else:
            self.refused.append(answer.status)
        return answer


async def run_load(
    load: Load, url: str, token: str, *, clients: int, until: asyncio.Event, pause_seconds: float = 0
) -> None:
    """Post to `url` from `clients` connections at once until told to stop; one that ends is opened again."""
    port = urlsplit(url).port
    assert port

    async def repeat() -> None:
        while not until.is_set():
            try:
                async with connect(port) as connection:
                    await _post_until(until, load, connection, token, pause_seconds)
            except OSError:
                await asyncio.sleep(RECONNECT_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(repeat())


async def _post_until(
    stop: asyncio.Event, load: Load, connection: RawConnection, token: str, pause_seconds: float
) -> None:
    while not stop.is_set():
        await asyncio.sleep(pause_seconds)
        answer = await load.post(connection, token)
        if answer is None or answer.headers.get("connection") == "close":
            break
