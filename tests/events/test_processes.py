"""The ledger's promises across real processes: appended at once, killed, stopped."""

import asyncio
import signal
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select

from app.database.engine import Database
from app.events.models import SyncEvent
from tests.events.support import read_head, read_ledger
from tests.support.load import Load, run_load
from tests.support.marks import on_postgresql
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

Start = Callable[..., ServiceProcess]
StartReplicas = Callable[..., list[ServiceProcess]]


async def follow(database: Database, until: asyncio.Event) -> list[tuple[int, UUID]]:
    """Read the ledger as a follower does: whatever lies after the last position seen, again and again."""
    seen: list[tuple[int, UUID]] = []
    while True:
        last_round = until.is_set()
        cursor = seen[-1][0] if seen else 0
        async with database.read() as session:
            query = select(SyncEvent.position, SyncEvent.id).where(SyncEvent.position > cursor)
            page = (await session.execute(query.order_by(SyncEvent.position).limit(500))).all()
        seen += [(position, event_id) for position, event_id in page]
        if last_round and not page:
            return seen
        await asyncio.sleep(0)


def more_than(load: Load, answered: int) -> Callable[[], bool]:
    """Whether that many requests and more have been answered."""
    return lambda: len(load.answered) > answered


@on_postgresql
async def test_three_processes_append_and_a_reader_misses_nothing(
    start_replicas: StartReplicas, database: Database, tokens: TokenFactory
) -> None:
    services = start_replicas(3)
    loads, stop, written = [Load() for _ in services], asyncio.Event(), asyncio.Event()
    follower = asyncio.create_task(follow(database, written))
    async with asyncio.TaskGroup() as group:
        for service, load in zip(services, loads, strict=True):
            group.create_task(run_load(load, service.url, tokens.token(), clients=16, until=stop))
        await until(lambda: sum(len(load.answered) for load in loads) >= 1500)
        stop.set()
    written.set()
    seen = await follower
    answered = [event_id for load in loads for event_id in load.answered]
    assert all(load.answered for load in loads)
    assert not any(load.refused for load in loads)
    assert [position for position, _ in seen] == list(range(1, len(answered) + 1))
    assert sorted(event_id for _, event_id in seen) == sorted(answered)


async def test_kill_under_load_loses_no_answered_event(
    start_service: Start, database: Database, tokens: TokenFactory
) -> None:
    load = Load()
    for _ in range(3):
        service, stop, before = start_service(), asyncio.Event(), len(load.answered)
        task = asyncio.create_task(run_load(load, service.url, tokens.token(), clients=32, until=stop))
        await until(more_than(load, before + 100))
        service.kill()
        stop.set()
        await task
    events = await read_ledger(database)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert await read_head(database) == len(events)
    written = [event.id for event in events]
    assert len(set(load.answered)) == len(load.answered)
    assert set(load.answered) <= set(written)
    files = [event.file_id for event in events]
    assert len(set(files)) == len(files), "a request without an answer was recorded twice"
    assert set(files) <= load.sent


@pytest.mark.load
@on_postgresql
async def test_a_stopped_replica_holds_up_nobody(
    start_replicas: StartReplicas, database: Database, tokens: TokenFactory
) -> None:
    stalling, running = start_replicas(2)
    stalled_load, load, stop = Load(), Load(), asyncio.Event()
    seconds: list[float] = []  # each time until 10 requests of 4 clients were answered beside a stopped replica
    async with asyncio.TaskGroup() as group:
        group.create_task(run_load(stalled_load, stalling.url, tokens.token(), clients=4, until=stop))
        group.create_task(run_load(load, running.url, tokens.token(), clients=4, until=stop))
        for _ in range(15):
            before = len(stalled_load.answered)
            await until(more_than(stalled_load, before + 5))
            stalling.send(signal.SIGSTOP)
            answered, started = len(load.answered), time.monotonic()
            await until(more_than(load, answered + 10))
            seconds.append(time.monotonic() - started)
            stalling.send(signal.SIGCONT)
        stop.set()
    # All but one: a disk that is busy elsewhere can hold up any single flush. A lock that a stopped replica held would
    # show in every round, and as refusals once it times out.
    assert sorted(seconds)[-2] < 2
    assert not load.refused
    assert not load.unanswered
    events = await read_ledger(database)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert set(stalled_load.answered) | set(load.answered) == {event.id for event in events}
