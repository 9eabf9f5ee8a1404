"""The sweep's promises: exactly once, in order per file, failures isolated; on both databases."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.events.models import RetryState
from app.sweep.repository import SweepRepository
from app.sweep.sweeper import Handler, Sweeper
from tests.conftest import MakeSettings
from tests.events.support import add_events, read_ledger
from tests.support.marks import on_postgresql

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
INTERVAL = timedelta(seconds=5)


class Journal:
    """A handler that notes in the database what it was given, and fails for the events it is told to."""

    def __init__(self, *failing: UUID, error: Exception | None = None) -> None:
        self.failing = set(failing)
        self.error = error

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        for position in positions:
            await session.execute(
                text("INSERT INTO journal (position) VALUES (:position)").bindparams(position=position)
            )
        if bad := [event for event in await SweepRepository(session).list_at(positions) if event.id in self.failing]:
            raise self.error or ValueError(f"cannot handle {bad[0].position}\nforged line")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def make_sweeper(database: Database, *handlers: Handler, clock: Clock | None = None, batch_size: int = 1000) -> Sweeper:
    return Sweeper(
        database,
        handlers,
        batch_size=batch_size,
        max_attempts=3,
        retry_interval=INTERVAL,
        clock=clock or Clock(),
    )


@pytest_asyncio.fixture(loop_scope="session")
async def journal(database: Database) -> Journal:
    async with database.transaction() as session:
        await session.execute(
            text(
                "CREATE TABLE journal (entry SERIAL, position BIGINT)"
                if not database.is_sqlite
                else "CREATE TABLE journal (entry INTEGER PRIMARY KEY, position BIGINT)"
            )
        )
    return Journal()


async def read_journal(database: Database) -> list[int]:
    async with database.read() as session:
        return [position for (position,) in await session.execute(text("SELECT position FROM journal ORDER BY entry"))]


async def read_states(database: Database) -> list[str | None]:
    return ["processed" if event.processed else event.retry_state for event in await read_ledger(database)]


async def test_every_event_is_handled_once_and_in_order(database: Database, journal: Journal) -> None:
    await add_events(database, *((uuid4(), "upload") for _ in range(25)))
    sweeper = make_sweeper(database, journal, batch_size=10)
    assert await sweeper.run_once() == 25
    assert await sweeper.run_once() == 0
    assert await read_journal(database) == list(range(1, 26))
    events = await read_ledger(database)
    assert all(event.processed and event.processed_at is not None for event in events)
    assert all(event.processed_at >= event.created_at for event in events if event.processed_at)


async def test_sweeping_at_once_from_many_replicas_handles_each_event_once(
    database: Database, journal: Journal
) -> None:
    await add_events(database, *((uuid4(), "upload") for _ in range(60)))
    sweepers = [make_sweeper(database, journal, batch_size=5) for _ in range(4)]
    while sum(await asyncio.gather(*(sweeper.sweep_batch() for sweeper in sweepers))):
        pass
    assert await read_journal(database) == list(range(1, 61))


async def test_a_failing_event_is_isolated_retried_and_set_aside(database: Database, journal: Journal) -> None:
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(9)))
    journal.failing = {ids[4]}
    clock = Clock()
    sweeper = make_sweeper(database, journal, clock=clock)
    await sweeper.run_once()
    assert sorted(await read_journal(database)) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert await read_states(database) == ["processed"] * 4 + ["retrying"] + ["processed"] * 4

    assert await sweeper.run_once() == 0, "the next attempt is not due yet"
    for delay in (INTERVAL, 2 * INTERVAL):
        clock.now += delay
        assert await sweeper.run_once() == 1
    event = (await read_ledger(database))[4]
    assert (event.retry_state, event.attempts, event.processed) == (RetryState.FAILED, 3, False)
    assert event.last_error == "ValueError: cannot handle 5"
    clock.now += timedelta(days=1)
    assert await sweeper.run_once() == 0
    assert sorted(await read_journal(database)) == [1, 2, 3, 4, 6, 7, 8, 9]


async def test_a_retry_does_not_wait_for_a_clock_that_was_set_back(database: Database, journal: Journal) -> None:
    file_id = uuid4()
    ids = await add_events(database, (uuid4(), "upload"), (file_id, "upload"), (file_id, "update"))
    journal.failing = {ids[0], ids[1]}
    clock = Clock()
    clock.now += timedelta(days=365)
    sweeper = make_sweeper(database, journal, clock=clock)
    await sweeper.run_once()
    assert await read_states(database) == ["retrying", "retrying", "waiting"]
    clock.now -= timedelta(days=365)
    journal.failing = set()
    await sweeper.run_once()
    assert await read_states(database) == ["processed"] * 3


@pytest.mark.parametrize("error", [OSError("no route"), TimeoutError("late"), KeyError("x")], ids=repr)
async def test_whatever_a_handler_raises_costs_its_own_event_alone(
    database: Database, journal: Journal, error: Exception
) -> None:
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(5)))
    await make_sweeper(database, Journal(ids[2], error=error)).run_once()
    assert await read_states(database) == ["processed", "processed", "retrying", "processed", "processed"]


@on_postgresql
async def test_a_statement_that_takes_too_long_costs_its_own_event_alone(
    make_settings: MakeSettings, journal: Journal
) -> None:
    class Slow(Journal):
        async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
            await super().handle(session, [])
            if any(event.id in self.failing for event in await SweepRepository(session).list_at(positions)):
                await session.execute(text("SELECT pg_sleep(5)"))

    database = Database(make_settings(database_statement_timeout=0.5))
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(6)))
    sweeper = make_sweeper(database, Slow(ids[1]), batch_size=4)
    for _ in range(20):
        with suppress(DatabaseUnavailable):
            await sweeper.run_once()
    assert await read_states(database) == ["processed", "retrying"] + ["processed"] * 4
    await database.close()


async def test_events_behind_a_failing_one_of_their_file_wait_their_turn(database: Database, journal: Journal) -> None:
    poisoned, healthy = uuid4(), uuid4()
    ids = await add_events(database, (poisoned, "upload"), (healthy, "upload"), (poisoned, "update"))
    journal.failing = {ids[0]}
    clock = Clock()
    sweeper = make_sweeper(database, journal, clock=clock)
    await sweeper.run_once()
    await add_events(database, (poisoned, "delete"), (healthy, "update"))
    await sweeper.run_once()
    assert await read_states(database) == ["retrying", "processed", "waiting", "waiting", "processed"]
    assert await read_journal(database) == [2, 5]

    journal.failing.clear()
    clock.now += INTERVAL
    assert await sweeper.run_once() == 3
    assert await read_journal(database) == [2, 5, 1, 3, 4]
    assert await read_states(database) == ["processed"] * 5


async def test_a_file_goes_on_once_its_failing_event_is_set_aside(database: Database, journal: Journal) -> None:
    file_id = uuid4()
    ids = await add_events(database, (file_id, "upload"), (file_id, "update"), (file_id, "delete"))
    journal.failing = {ids[0]}
    clock = Clock()
    sweeper = make_sweeper(database, journal, clock=clock)
    for _ in range(4):
        await sweeper.run_once()
        clock.now += timedelta(minutes=5)
    assert await read_states(database) == ["failed", "processed", "processed"]
    assert await read_journal(database) == [2, 3]


async def test_more_waiting_events_than_a_batch_are_all_taken_up_in_order(database: Database, journal: Journal) -> None:
    file_id = uuid4()
    ids = await add_events(database, *((file_id, "update") for _ in range(12)))
    journal.failing = {ids[0]}
    clock = Clock()
    sweeper = make_sweeper(database, journal, clock=clock, batch_size=5)
    await sweeper.run_once()
    await add_events(database, (file_id, "delete"))
    journal.failing.clear()
    clock.now += INTERVAL
    await sweeper.run_once()
    assert await read_journal(database) == list(range(1, 14))


async def test_a_crash_before_the_commit_leaves_nothing_behind(database: Database, journal: Journal) -> None:
    class Crash(Journal):
        async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
            await super().handle(session, positions)
            raise asyncio.CancelledError

    await add_events(database, (uuid4(), "upload"), (uuid4(), "upload"))
    with pytest.raises(asyncio.CancelledError):
        await make_sweeper(database, Crash()).run_once()
    assert await read_journal(database) == []
    assert await read_states(database) == [None, None]
    await make_sweeper(database, journal).run_once()
    assert await read_journal(database) == [1, 2]


async def test_a_database_that_can_not_serve_costs_no_attempt(database: Database, journal: Journal) -> None:
    class Unserved(Journal):
        async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
            raise DatabaseUnavailable

    await add_events(database, (uuid4(), "upload"))
    with pytest.raises(DatabaseUnavailable):
        await make_sweeper(database, Unserved()).run_once()
    assert (await read_ledger(database))[0].attempts == 0


class Impatient:
    """A handler that wants a row which somebody else has."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        await session.execute(text("SELECT 1 FROM ledger_head FOR UPDATE NOWAIT"))


@on_postgresql
async def test_a_lock_that_others_have_costs_no_attempt(database: Database) -> None:
    await add_events(database, (uuid4(), "upload"))
    sweeper = make_sweeper(database, Impatient(), batch_size=1)
    async with database.transaction() as session:
        await session.execute(text("SELECT 1 FROM ledger_head FOR UPDATE"))
        for _ in range(4):
            with pytest.raises(DatabaseUnavailable):
                await sweeper.run_once()
    assert [(event.attempts, event.retry_state) for event in await read_ledger(database)] == [(0, None)]
    assert await sweeper.run_once() == 1


async def test_a_stop_ends_the_sweep_between_two_batches(database: Database, journal: Journal) -> None:
    stopping = asyncio.Event()

    class Stopper(Journal):
        async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
            await super().handle(session, positions)
            stopping.set()

    await add_events(database, *((uuid4(), "upload") for _ in range(20)))
    assert await make_sweeper(database, Stopper(), batch_size=5).run_once(stopping) == 5
    assert await read_journal(database) == [1, 2, 3, 4, 5]
