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
from tests.support.chaos import chaos_seconds, is_long
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.postgres import PostgresServer
from tests.support.receiver import receiving
from tests.support.relay import Relay
from tests.support.tokens import TokenFactory

SECONDS = chaos_seconds(0.2)  # of each fault
IS_SHORT = not is_long()

HARMLESS = {postgresql.hold_snapshot, sqlite.hold_snapshot, *callers.FAULTS}
# In the short form these happen at once, and everything goes on once for all of them. A restart ends the sessions that
# lost packets leave, whose locks later faults would await for 20 seconds; in the long form each fault is by itself.
TOGETHER: tuple[tuple[Fault, ...], ...] = (
    (postgresql.restart, postgresql.lose_packets),
    (postgresql.terminate_backends, postgresql.cancel_statements, postgresql.cut_connections),
    (postgresql.lock_ledger, postgresql.lock_sweep, postgresql.lock_subscriptions),
    (postgresql.suspend_replica, postgresql.jump_clock),
    callers.FAULTS,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(60 + (len(postgresql.FAULTS) + len(callers.FAULTS)) * (SECONDS + 30)),
]


async def go_through(world: World, faults: Sequence[Fault]) -> None:
    """Each fault in turn, until every writer goes on; then look at what became of everything."""
    workload = Workload(world.choose, world.tokens)
    async with receiving(workload.receiver), workload.running():
        await workload.until_all_go_on()
        for group in in_groups([*filter(is_possible, faults)]):
            names = ", ".join(fault.__name__ for fault in group)
            before, refused, began = workload.count, workload.refused.total(), time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                for fault in group:
                    tasks.create_task(fault(world, SECONDS))
            ended = time.monotonic()
            await workload.until_all_go_on()
            print(
                f"{names}: {ended - began:.1f} s, {workload.count - before} events,"
                f" all go on after {time.monotonic() - ended:.1f} s, refused: {dict(workload.refused)}"
            )
            assert not workload.broken, names
            assert not HARMLESS.issuperset(group) or workload.refused.total() == refused, names


def in_groups(faults: Sequence[Fault]) -> Iterator[Sequence[Fault]]:
    """The faults by what happens at once: in the long form each by itself."""
    together = TOGETHER if IS_SHORT else ()
    for fault in faults:
        group = next((each for each in together if fault in each), (fault,))
        present = [one for one in group if one in faults]
        if fault is present[0]:
            yield present


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
            await go_through(world, (*callers.FAULTS, *postgresql.FAULTS))


async def test_faults_of_sqlite(
    sqlite_url: str, issuer: KeyServer, fork_server: ForkServer, tokens: TokenFactory, tmp_path: Path
) -> None:
    with service_processes(sqlite_url, issuer, fork_server, tmp_path) as begin:
        world = World(begin, tmp_path, tokens, file=tmp_path / "sync.db")
        await asyncio.to_thread(world.start, 1)
        await go_through(world, (*callers.FAULTS, *sqlite.FAULTS))
