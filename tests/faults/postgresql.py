"""The faults of PostgreSQL, of the network to it, of its other users, and of replicas and their clocks.

Each lasts some seconds and is over when its function returns.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import asyncpg

from tests.faults.world import LEASE_SECONDS, World
from tests.support.postgres import PostgresServer

INTERVAL_SECONDS = 0.3
YEAR_SECONDS = 365 * 86_400
OURS = "FROM pg_stat_activity WHERE application_name = 'sync-service'"

Fault = Callable[[World, float], Coroutine[None, None, None]]


async def restart(world: World, seconds: float) -> None:
    """The server is down for a while."""
    server = _server(world)
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)


async def crash(world: World, seconds: float) -> None:
    """The server ends as in a power cut, and recovers."""
    server = _server(world)
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)


async def hang(world: World, seconds: float) -> None:
    """Nothing of the server moves."""
    with _server(world).suspended():
        await asyncio.sleep(seconds)


async def terminate_backends(world: World, seconds: float) -> None:
    """An operator terminates the backends again and again."""
    await _repeat(seconds, lambda: _sql(_server(world), f"SELECT pg_terminate_backend(pid) {OURS}"))


async def cancel_statements(world: World, seconds: float) -> None:
    """An operator cancels the statements again and again."""
    await _repeat(seconds, lambda: _sql(_server(world), f"SELECT pg_cancel_backend(pid) {OURS}"))


async def cut_connections(world: World, seconds: float) -> None:
    """The network resets every connection to the server again and again."""
    assert world.relay
    relay = world.relay

    async def cut() -> None:
        relay.cut()

    await _repeat(seconds, cut)


async def lose_packets(world: World, seconds: float) -> None:
    """A firewall forgets the connections: they are open, and nothing comes through, now or later."""
    assert world.relay
    with world.relay.silent():
        await asyncio.sleep(seconds)


async def lock_ledger(world: World, seconds: float) -> None:
    """Somebody holds the row that every append updates."""
    async with _holding(world, "SELECT * FROM ledger_head FOR UPDATE"):
        await asyncio.sleep(seconds)


async def lock_sweep(world: World, seconds: float) -> None:
    """Somebody holds the row that every sweep updates."""
    async with _holding(world, "SELECT * FROM sweep_cursor FOR UPDATE"):
        await asyncio.sleep(seconds)


async def lock_subscriptions(world: World, seconds: float) -> None:
    """Somebody holds the rows of all subscriptions."""
    async with _holding(world, "SELECT * FROM subscriptions FOR UPDATE"):
        await asyncio.sleep(seconds)


async def lock_table(world: World, seconds: float) -> None:
    """Somebody alters the table of events."""
    async with _holding(world, "LOCK TABLE sync_events IN ACCESS EXCLUSIVE MODE"):
        await asyncio.sleep(seconds)


async def hold_snapshot(world: World, seconds: float) -> None:
    """Somebody reads the whole table for a long time."""
    async with _holding(world, "SELECT count(*) FROM sync_events", isolation="repeatable_read"):
        await asyncio.sleep(seconds)


async def refuse_writes(world: World, seconds: float) -> None:
    """The database is read-only."""
    server = _server(world)
    await _sql(server, "ALTER SYSTEM SET default_transaction_read_only = on")
    await _sql(server, "SELECT pg_reload_conf()")
    await asyncio.sleep(seconds)
    await _sql(server, "ALTER SYSTEM RESET default_transaction_read_only")
    await _sql(server, "SELECT pg_reload_conf()")


async def fill_disk(world: World, seconds: float) -> None:
    """No event finds room on the disk."""
    refusal = "RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'"
    function = f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {refusal}; END $$"
    trigger = "CREATE TRIGGER full_disk BEFORE INSERT ON sync_events EXECUTE FUNCTION full_disk()"
    await _sql(_server(world), f"{function}; {trigger}")
    await asyncio.sleep(seconds)
    await _sql(_server(world), "DROP FUNCTION full_disk CASCADE")


async def change_isolation(world: World, seconds: float) -> None:
    """The database has another isolation level by default, and new connections."""
    server = _server(world)
    await _sql(server, "ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
    await _sql(server, f"SELECT pg_terminate_backend(pid) {OURS}")
    await asyncio.sleep(seconds)
    await _sql(server, "ALTER DATABASE postgres RESET default_transaction_isolation")


async def kill_replicas(world: World, seconds: float) -> None:
    """Replicas are killed and replaced, one after the other."""
    ends_at, place = time.monotonic() + seconds, 0
    while place == 0 or time.monotonic() < ends_at:
        place = place % (len(world.replicas) - 1) + 1
        await asyncio.to_thread(world.replace, place)


async def suspend_replica(world: World, seconds: float) -> None:
    """A replica sleeps through its leases."""
    world.replicas[-1].send(signal.SIGSTOP)
    await asyncio.sleep(max(seconds, LEASE_SECONDS * 1.5))
    world.replicas[-1].send(signal.SIGCONT)


async def jump_clock(world: World, seconds: float) -> None:
    """The clock of a replica jumps an hour and a year ahead, and comes back."""
    for ahead_seconds in (3600, YEAR_SECONDS):
        world.set_clock(ahead_seconds)
        await asyncio.sleep(max(seconds / 2, 1.5))  # the replica looks once a second
    world.set_clock(0)


FAULTS: tuple[Fault, ...] = (
    hold_snapshot,  # refuses nobody, so it comes before the faults whose broken connections fail later requests
    suspend_replica,  # these two early: what they leave behind is repaired while the others go on
    jump_clock,
    restart,
    crash,
    hang,
    terminate_backends,
    cancel_statements,
    cut_connections,
    lose_packets,
    lock_ledger,
    lock_sweep,
    lock_subscriptions,
    lock_table,
    refuse_writes,
    fill_disk,
    change_isolation,
    kill_replicas,
)


def _server(world: World) -> PostgresServer:
    assert world.server
    return world.server


async def _sql(server: PostgresServer, statement: str) -> None:
    await asyncio.to_thread(server.sql, statement)


async def _repeat(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        await act()
        await asyncio.sleep(INTERVAL_SECONDS)


@asynccontextmanager
async def _holding(world: World, statement: str, isolation: str = "read_committed") -> AsyncIterator[None]:
    """Hold the locks and the snapshot of `statement`."""
    connection = await asyncpg.connect(_server(world).url("postgres"))
    try:
        async with connection.transaction(isolation=isolation):
            await connection.execute(statement)
            yield
    finally:
        await connection.close()
