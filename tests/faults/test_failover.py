"""A standby takes over under load: with a synchronous one nothing is lost, with another one the loss is reported."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Alembic, service_processes
from tests.faults.workload import Workload
from tests.faults.world import World
from tests.support.chaos import chaos_seconds
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.receiver import receiving
from tests.support.relay import Relay
from tests.support.replication import ReplicatedPostgres
from tests.support.tokens import TokenFactory

SECONDS = chaos_seconds(0.2)
EVENTS = 10

pytestmark = [pytest.mark.long, pytest.mark.timeout(120 + 3 * SECONDS)]


@pytest.fixture
def pair(alembic: Alembic) -> Iterator[ReplicatedPostgres]:
    """A primary and its synchronous standby, with a migrated database."""
    pair = ReplicatedPostgres()
    alembic(pair.primary.url("postgres"), "upgrade", "head")
    yield pair
    pair.remove()


def lead_to_standby(pair: ReplicatedPostgres, relay: Relay) -> None:
    """The address of the primary leads to the standby from now on."""
    relay.target = pair.standby.port
    relay.cut()


def url_of(relay: Relay) -> str:
    return f"postgresql://postgres@127.0.0.1:{relay.port}/postgres"


async def test_with_a_synchronous_standby_nothing_is_lost(
    pair: ReplicatedPostgres, issuer: KeyServer, fork_server: ForkServer, tokens: TokenFactory, tmp_path: Path
) -> None:
    async with Relay(pair.primary.port) as relay:
        with service_processes(url_of(relay), issuer, fork_server, tmp_path) as begin:
            world = World(begin, tmp_path, tokens)
            await asyncio.to_thread(world.start, 2)
            workload = Workload(world.choose, tokens)
            async with receiving(workload.receiver), workload.running():
                await workload.until_all_go_on()
                await asyncio.to_thread(pair.standby.kill)
                await asyncio.sleep(SECONDS)
                pair.terminate_waits()
                await asyncio.sleep(SECONDS)
                await asyncio.to_thread(pair.start_standby)
                await workload.until_all_go_on()
                await asyncio.sleep(SECONDS)
                await asyncio.to_thread(pair.promote_standby)
                lead_to_standby(pair, relay)
                await workload.until_all_go_on()


async def test_with_an_asynchronous_standby_the_loss_is_reported(
    pair: ReplicatedPostgres, issuer: KeyServer, fork_server: ForkServer, tokens: TokenFactory, tmp_path: Path
) -> None:
    await asyncio.to_thread(pair.require_standby, "")
    async with Relay(pair.primary.port) as relay:
        with service_processes(url_of(relay), issuer, fork_server, tmp_path) as begin:
            world = World(begin, tmp_path, tokens)
            await asyncio.to_thread(world.start, 1)
            headers = {"Authorization": f"Bearer {tokens.token()}"}
            async with httpx.AsyncClient(base_url=world.choose(), headers=headers, timeout=20) as client:
                kept = [await post(client) for _ in range(EVENTS)]
                await asyncio.to_thread(pair.wait_until_received)
                await asyncio.to_thread(pair.standby.kill)
                for _ in range(EVENTS):
                    await post(client)
                awake = await read(client, limit=1000)
                slept = await read(client, limit=EVENTS + 1)
                await asyncio.to_thread(pair.promote_standby)
                lead_to_standby(pair, relay)
                later = [await post(client) for _ in range(2 * EVENTS)]
                for cursor in (awake["cursor"], slept["cursor"]):
                    response = await client.get("/changes", params={"cursor": cursor})
                    assert response.status_code == httpx.codes.GONE, response.text[:500]
                    assert response.json()["type"].endswith(":cursor-of-lost-event")
                changes = (await read(client, limit=1000))["changes"]
                assert [change["event_id"] for change in changes] == [*kept, *later]
                assert [change["position"] for change in changes] == list(range(1, 3 * EVENTS + 1))


async def post(client: httpx.AsyncClient) -> str:
    """Post an event, again and again with its key until it has its 201; returns its id."""
    key = str(uuid4())
    while True:
        response = await client.post(
            "/sync-events", json={"file_id": key, "event_type": "upload"}, headers={"Idempotency-Key": key}
        )
        if response.status_code == httpx.codes.CREATED:
            event_id: str = response.json()["event_id"]
            return event_id
        assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE, response.text
        await asyncio.sleep(0.05)


async def read(client: httpx.AsyncClient, *, limit: int) -> dict[str, Any]:
    """A page of the feed from its beginning."""
    page: dict[str, Any] = (await client.get("/changes", params={"limit": limit})).raise_for_status().json()
    return page
