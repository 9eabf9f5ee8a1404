"""A cut of a SQLite file, and an event for the service that serves it."""

from pathlib import Path
from uuid import uuid4

import httpx

PAGE = 4096  # bytes


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // PAGE * PAGE)


async def post(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/sync-events", json={"file_id": str(uuid4()), "event_type": "upload"})
