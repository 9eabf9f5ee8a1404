"""The faults of a SQLite file and of the one process that uses it. Each is over when its function returns."""

import asyncio
import resource
from collections.abc import Callable, Coroutine
from pathlib import Path

import aiosqlite

from tests.faults.world import World

Fault = Callable[[World, float], Coroutine[None, None, None]]


async def fill_disk(world: World, seconds: float) -> None:
    """No file of the process grows any more."""
    [process] = world.replicas
    sizes = [path.stat().st_size for path in _file(world).parent.glob(f"{_file(world).name}*")]
    process.limit_file_size(max(sizes))
    await asyncio.sleep(seconds)
    process.limit_file_size(resource.RLIM_INFINITY)


async def move_file(world: World, seconds: float) -> None:
    """The file is moved away; an operator moves it back and starts the process again, as its error says."""
    file = _file(world)
    away = file.with_name("away.db")
    file.rename(away)
    await asyncio.sleep(seconds)
    away.rename(file)
    await asyncio.to_thread(world.replace, 0)


async def lock_file(world: World, seconds: float) -> None:
    """Another process writes for a long time."""
    await _hold(world, seconds, "BEGIN IMMEDIATE")


async def hold_snapshot(world: World, seconds: float) -> None:
    """Another process reads for a long time."""
    await _hold(world, seconds, "BEGIN", "SELECT count(*) FROM sync_events")


async def kill_process(world: World, seconds: float) -> None:
    """The process is killed, and another takes its place after a while."""
    world.replicas[0].kill()
    await asyncio.sleep(seconds)
    await asyncio.to_thread(world.replace, 0)


FAULTS: tuple[Fault, ...] = (hold_snapshot, fill_disk, move_file, lock_file, kill_process)


def _file(world: World) -> Path:
    assert world.file
    return world.file


async def _hold(world: World, seconds: float, *statements: str) -> None:
    async with aiosqlite.connect(_file(world), isolation_level=None) as connection:
        for statement in statements:
            await connection.execute_fetchall(statement)
        await asyncio.sleep(seconds)
        await connection.execute("ROLLBACK")
