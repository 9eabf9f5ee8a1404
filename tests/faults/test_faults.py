"""Fault after fault under load: each 201 is in the ledger once, in order, processed, followed and delivered."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import migrate, service_processes
from tests.faults import callers, postgresql, sqlite
from tests.faults.postgresql import Fault
from tests.faults.workload import Workload
from tests.faults.world import World, find_faketime
from tests.support.chaos import chaos_seconds
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.postgres import PostgresServer
from tests.support.receiver import receiving
from tests.support.relay import Relay
from tests.support.tokens import TokenFactory

SECONDS = chaos_seconds(0.5)  # of each fault

HARMLESS = {postgresql.hold_snapshot, sqlite.hold_snapshot, *callers.FAULTS}

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(60 + (len(postgresql.FAULTS) + len(callers.FAULTS)) * (SECONDS + 30)),
]


async def go_through(world: World, faults: Sequence[Fault]) -> None:
    """Each fault in turn, until every writer goes on; then look at what became of everything."""
    workload = Workload(world.choose, world.tokens)
    async with receiving(workload.receiver), workload.running():
        for fault in filter(is_possible, faults):
            await workload.until_all_go_on()
            before, refused, began = workload.count, workload.refused.total(), time.monotonic()
            await fault(world, SECONDS)
            ended = time.monotonic()
            await workload.until_all_go_on()
            print(
                f"{fault.__name__}: {ended - began:.1f} s, {workload.count - before} events,"
                f" all go on after {time.monotonic() - ended:.1f} s, refused: {dict(workload.refused)}"
            )
            assert not workload.broken, fault.__name__
            assert fault not in HARMLESS or workload.refused.total() == refused, fault.__name__


def is_possible(fault: Fault) -> bool:
    """Whether this machine has what the fault needs."""
    return fault is not postgresql.jump_clock or find_faketime() is not None


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of its own, with a migrated database."""
    server = PostgresServer()
    server.start()
    migrate(server.url("postgres"))
    yield server
    server.remove()


async def test_faults_of_postgresql(
    server: PostgresServer, issuer: KeyServer, fork_server: ForkServer, tokens: TokenFactory, tmp_path: Path
) -> None:
    async with Relay(server.port) as relay:
        url = f"postgresql://postgres@127.0.0.1:{relay.port}/postgres"
        with service_processes(url, issuer, fork_server, tmp_path) as begin:
            world = World(begin, tmp_path, tokens, server=server, relay=relay)
            await asyncio.to_thread(world.start, 2)
            await go_through(world, (*postgresql.FAULTS, *callers.FAULTS))


async def test_faults_of_sqlite(
    sqlite_url: str, issuer: KeyServer, fork_server: ForkServer, tokens: TokenFactory, tmp_path: Path
) -> None:
    with service_processes(sqlite_url, issuer, fork_server, tmp_path) as begin:
        world = World(begin, tmp_path, tokens, file=tmp_path / "sync.db")
        await asyncio.to_thread(world.start, 1)
        await go_through(world, (*sqlite.FAULTS, *callers.FAULTS))
