"""Clients that post events to real processes as fast as they are answered."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx


@dataclass
class Load:
    """What the clients saw. `answered` are ids of events, `sent` ids of files, `refused` are statuses."""

    answered: list[UUID] = field(default_factory=list)
    sent: set[UUID] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    unanswered: int = 0

    async def post(self, client: httpx.AsyncClient, url: str) -> None:
        """Post one event of a file of its own; a request without an answer is counted as sent alone."""
        file_id = uuid4()
        self.sent.add(file_id)
        try:
            answer = await client.post(
                f"{url}/sync-events",
                json={"file_id": str(file_id), "event_type": "upload"},
                headers={"Idempotency-Key": str(file_id)},
            )
        except httpx.TransportError:
            self.unanswered += 1
            return
        if answer.status_code == httpx.codes.CREATED:
            self.answered.append(UUID(answer.json()["event_id"]))
        else:
            self.refused.append(answer.status_code)


async def run_load(load: Load, url: str, token: str, *, clients: int, until: asyncio.Event) -> None:
    """Post to `url` from `clients` clients at once until told to stop."""
    limits = httpx.Limits(max_connections=clients)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=30) as client:

        async def repeat() -> None:
            while not until.is_set():
                await load.post(client, url)

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(repeat())
