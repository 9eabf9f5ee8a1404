"""Leases of file checks, checks of sources that hang, and full checks that begin by themselves."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from app.consistency.check_repository import CheckRepository
from app.consistency.check_runner import CheckProgress
from app.consistency.file_check_repository import FileCheckRepository
from app.consistency.metrics import ConsistencyMetrics
from app.consistency.models import Check, CheckState, Difference, Kind
from app.consistency.service import open_consistency
from app.consistency.sources.request import NAMED, RequestRetries
from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner
from tests.consistency.world import GRACE, ShiftedClock, World
from tests.events.support import open_ledger
from tests.support.marks import on_sqlite
from tests.support.visited_rows import count_visited
from tests.support.waiting import until


def file_check_lease(world: World) -> float:
    return world.consistency.tasks._file_check_lease.total_seconds()


async def test_the_file_checks_of_a_dead_replica_come_back_after_its_lease(noting: World) -> None:
    await noting.upload(file_id := uuid4())
    noting.clock.advance(GRACE + 1)
    async with noting.database.transaction() as session:
        now = await noting.clock(session)
        until = now + timedelta(seconds=file_check_lease(noting))
        assert await FileCheckRepository(session).claim(noting.source, now, until, 8) == [file_id]
    await noting.age(file_check_lease(noting) / 2)
    assert noting.owner.paths == [], "another replica has it"
    await noting.age(file_check_lease(noting) / 2 + 1)
    assert await noting.states() == {(file_id, "missing"): "suspected"}


async def test_a_file_check_that_takes_longer_than_its_lease_keeps_it(
    noting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await noting.upload(file_id := uuid4(), later := uuid4())
    noting.owner.put(file_id, later)
    monkeypatch.setattr(noting.consistency.tasks, "_file_check_lease", timedelta(seconds=0.6))
    release = asyncio.Event()
    noting.owner.before_reply = release.wait
    noting.clock.advance(GRACE + 1)
    await noting.consistency.tasks.run_once()
    await until(lambda: len(noting.owner.paths) == 2)
    [first] = {one.due_at for one in await noting.list_file_checks()}

    async def is_renewed() -> bool:
        dues = {one.due_at for one in await noting.list_file_checks()}
        return all(one is not None and one > first for one in dues if first is not None)

    await until(is_renewed)
    await noting.append((later, "update", None))
    await noting.sweep()
    release.set()
    await noting.consistency.tasks.settle()
    due = {one.file_id: one.due_at is not None for one in await noting.list_file_checks()}
    assert due == {file_id: False, later: True}, "the file check settles its files, but not one with a later event"


@pytest.mark.slow
@on_sqlite
async def test_a_named_check_behind_file_checks_that_hang_ends_soon(
    noting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits a part of its time for a permit, and the rest for the source."""
    monkeypatch.setattr(
        "app.consistency.check_runner.NAMED", RequestRetries(attempts=2, seconds=0.6, permit_seconds=0.3)
    )
    assert NAMED.seconds + (NAMED.permit_seconds or 0) < 30
    files = [uuid4() for _ in range(8)]
    await noting.upload(*files)
    noting.owner.before_reply = asyncio.Event().wait
    noting.clock.advance(GRACE + 1)
    await noting.consistency.tasks.run_once()
    await until(lambda: len(noting.owner.paths) == 8)
    check_id = await noting.begin(uuid4())
    await noting.consistency.tasks.run_once()
    await asyncio.gather(*noting.consistency.tasks._checks.values())
    check = await noting.read_check(check_id)
    assert (check.state, check.reason) == (
        CheckState.INCOMPLETE,
        "1 of 1 files could not be asked about. The source has too many requests under way.",
    )


@on_sqlite
async def test_a_named_check_of_a_source_that_hangs_ends_soon(noting: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "app.consistency.check_runner.NAMED", RequestRetries(attempts=2, seconds=0.5, permit_seconds=0.5)
    )
    noting.owner.before_reply = asyncio.Event().wait
    check = await noting.check(*(uuid4() for _ in range(60)))
    reason = "60 of 60 files could not be asked about. The source did not respond within 0.5 seconds."
    assert (check.state, check.reason) == (CheckState.INCOMPLETE, reason)
    assert len(noting.owner.paths) <= 8, "the others were not asked for"


@pytest.mark.parametrize("seconds", [0, 3600])
async def test_full_checks_begin_by_themselves(
    seconds: int, make_settings: MakeSettings, database: Database, owner: Owner
) -> None:
    """One of all replicas begins it, and again after the interval."""
    clock = ShiftedClock()
    async with AsyncExitStack() as stack:
        settings = make_settings(consistency_full_interval=seconds)
        replicas = [
            await stack.enter_async_context(open_consistency(settings, database, open_ledger(database), clock))
            for _ in range(2)
        ]
        world = World(database, replicas[0], owner, clock)
        await world.add_source()

        async def count_checks() -> int:
            await asyncio.gather(*(one.tasks.run_once() for one in replicas))
            await asyncio.gather(*(one.tasks.settle() for one in replicas))
            async with database.read() as session:
                return len(await CheckRepository(session).list_newest(None, limit=10))

        begun = [await count_checks(), await count_checks()]
        clock.advance(3601)
        begun += [await count_checks()]
        assert begun == ([1, 1, 2] if seconds else [0, 0, 0])


async def test_a_pass_without_work_begins_no_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite it would take the lock of the only writer."""
    world.owner.put(file_id := uuid4())
    await world.upload(file_id)
    await world.check()
    await world.run()
    transactions = 0
    begin = world.database.transaction

    def count(**options: Any) -> AbstractAsyncContextManager[AsyncSession]:
        nonlocal transactions
        transactions += 1
        return begin(**options)

    monkeypatch.setattr(world.database, "transaction", count)
    await world.run()
    assert transactions == 0
    await world.check(file_id)
    assert transactions > 0


async def test_what_an_ended_check_has_left_is_removed(world: World) -> None:
    check_id = await world.begin()
    async with world.database.transaction() as session:
        difference = Difference(file_id=uuid4(), kind=Kind.MISSING, evidence=None, seen_at=await world.clock(session))
        await CheckRepository(session).stage(check_id, [difference])
        assert not await CheckRepository(session).has_leftovers()
    await world.cancel(check_id)
    async with world.database.read() as session:
        assert await CheckRepository(session).has_leftovers()
    await world.run()
    async with world.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Difference)) == 0


async def test_leftovers_are_found_among_many_checks_and_differences(world: World) -> None:
    await world.cancel(await world.begin())
    check_id = await world.begin()
    async with world.database.transaction() as session:
        [ended] = (await session.execute(select(Check.__table__).where(Check.id != check_id))).mappings()
        await session.execute(insert(Check), [{**ended, "id": uuid4()} for _ in range(3000)])
        kept: dict[str, Any] = {"kind": Kind.MISSING, "evidence": None, "seen_at": await world.clock(session)}
        await CheckRepository(session).stage(check_id, [Difference(file_id=uuid4(), **kept) for _ in range(3000)])
        await session.execute(text("ANALYZE"))
    has_leftovers, visited = await count_visited(
        world.database, "consistency_differences", lambda session: CheckRepository(session).has_leftovers()
    )
    assert not has_leftovers
    assert visited < 30


@on_sqlite
async def test_a_heartbeat_that_fails_is_logged_and_goes_on(world: World) -> None:
    await world.begin()
    async with world.database.transaction() as session:
        [check] = await CheckRepository(session).claim(await world.clock(session), timedelta(seconds=60), 1)
    calls, claimed_until = 0, check.due_at

    async def fail_at_first(session: AsyncSession) -> datetime:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("a fault")
        return await world.clock(session) + timedelta(seconds=600)

    async def is_extended() -> bool:
        return (await world.read_check(check.id)).due_at != claimed_until

    progress = CheckProgress(world.database, fail_at_first, timedelta(seconds=0.03), ConsistencyMetrics())
    with capture_logs() as lines:
        async with progress.heartbeat(check):
            await until(is_extended)
    assert [(one["event"], one["check"]) for one in lines] == [("lease of a check not extended", str(check.id))]


@on_sqlite
async def test_heartbeats_that_fail_are_logged_once_a_minute(world: World) -> None:
    await world.begin()
    async with world.database.transaction() as session:
        [check] = await CheckRepository(session).claim(await world.clock(session), timedelta(seconds=60), 1)
    calls = asyncio.Queue[None]()

    async def fail(_session: AsyncSession) -> datetime:
        calls.put_nowait(None)
        raise ValueError("a fault")

    progress = CheckProgress(world.database, fail, timedelta(seconds=0.03), ConsistencyMetrics())
    with capture_logs() as lines:
        for _ in range(3):
            async with progress.heartbeat(check):
                await calls.get()
                await calls.get()  # the first call has failed
    assert [one["event"] for one in lines] == ["lease of a check not extended"]


async def test_a_renewal_of_file_checks_that_fails_is_logged_and_repeated(
    noting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await noting.upload(file_id := uuid4())
    noting.owner.put(file_id)
    monkeypatch.setattr(noting.consistency.tasks, "_file_check_lease", timedelta(seconds=0.6))
    renew, calls = FileCheckRepository.renew, 0

    async def fail_at_first(repository: FileCheckRepository, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("a fault")
        await renew(repository, *arguments)

    monkeypatch.setattr(FileCheckRepository, "renew", fail_at_first)
    release = asyncio.Event()
    noting.owner.before_reply = release.wait
    noting.clock.advance(GRACE + 1)
    with capture_logs() as lines:
        await noting.consistency.tasks.run_once()
        await until(lambda: calls > 1)
        release.set()
        await noting.consistency.tasks.settle()
    assert [(one["event"], one["source"]) for one in lines] == [
        ("lease of file checks not extended", str(noting.source))
    ]
