"""Repairs by several processes at once, which die or lose their lease: each finding is repaired once."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.consistency.check_repository import CheckRepository, LeaseLost
from app.consistency.models import Repair, Source
from app.consistency.repairs.repository import RepairRepository
from app.consistency.repairs.service import LEASE
from app.consistency.schemas import Filter
from app.consistency.service import open_consistency
from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner
from tests.consistency.repairs.support import (
    COMPENSATE,
    apply,
    list_compensations,
    list_sources,
    open_findings,
    other_replica,
    plan,
)
from tests.consistency.world import World
from tests.events.support import open_ledger
from tests.support.marks import on_sqlite
from tests.support.waiting import until


async def test_a_process_that_dies_half_way_is_followed_by_one_that_acts_once(world: World) -> None:
    files = sorted(uuid4() for _ in range(3))
    await world.upload(*files)
    await open_findings(world, *files)
    repair = await plan(world, COMPENSATE)
    ledger = world.consistency.repairs._ledger
    append, appended = ledger.append, 0

    async def fail(records: Any) -> Any:
        nonlocal appended
        appended += 1
        if appended == 3:
            raise ConnectionError("killed")
        return await append(records)

    ledger.append = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await apply(world, repair)
    ledger.append = append  # type: ignore[method-assign]
    assert set((await apply(world, repair)).values()) == {("applied", None)}
    assert sorted(one.file_id for one in await list_compensations(world)) == files


async def test_a_repair_under_way_at_the_end_is_continued_without_a_wait_for_its_lease(
    world: World, make_settings: MakeSettings
) -> None:
    await world.upload(file_id := uuid4())
    findings = await open_findings(world, file_id)
    repair = await plan(world, COMPENSATE)
    asked = asyncio.Event()

    async def hang(*_arguments: Any, **_named: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    database = Database(make_settings())
    async with open_consistency(make_settings(), database, open_ledger(database), world.clock) as ending:
        ending.repairs._check_files = hang  # type: ignore[method-assign]
        applying = asyncio.create_task(ending.repairs.apply(repair.id))
        await asked.wait()
    await database.close()
    with pytest.raises(asyncio.CancelledError):
        await applying
    assert (await world.consistency.repairs.get(repair.id)).due_at is None
    assert await apply(world, repair) == {findings["missing"].id: ("applied", None)}


async def test_two_at_once_act_once_and_say_the_same(world: World) -> None:
    files = sorted(uuid4() for _ in range(10))  # two groups
    await world.upload(*files)
    await open_findings(world, *files)
    repair = await plan(world, COMPENSATE)
    one, another = world.consistency.repairs, other_replica(world)
    results = await asyncio.gather(one.apply(repair.id), another.apply(repair.id), one.apply(repair.id))
    assert results[0].results == results[1].results == results[2].results
    assert {result["outcome"] for result in results[0].results or ()} == {"applied"}
    assert len(await list_compensations(world)) == 10


async def test_a_lease_taken_after_the_clock_was_read_is_not_taken_again(world: World) -> None:
    repair, check_id = await plan(world, COMPENSATE), await world.begin()
    async with world.database.transaction() as session:
        read_at, lease = await world.clock(session), timedelta(seconds=60)
        repairs, checks = RepairRepository(session), CheckRepository(session)
        for seconds, is_free in ((1, True), (0, False), (60, False), (62, True)):
            now = read_at + timedelta(seconds=seconds)
            assert await repairs.claim(repair.id, now, lease) == is_free
            assert [one.id for one in await checks.claim(now, lease, 1)] == [check_id] * is_free
        long_before = read_at - timedelta(seconds=60)
        assert await repairs.claim(repair.id, long_before, lease), "the lease was taken by a clock that was ahead"


async def test_a_process_that_loses_its_lease_acts_once_with_its_successor(world: World, other: Owner) -> None:
    """The successor checks the files before the first process compensates one of them, and compares afterwards."""
    files = sorted(uuid4() for _ in range(3))
    await world.upload(*files)
    await open_findings(world, *files)
    [world.source] = [one for one in await list_sources(world) if one != world.source]
    await open_findings(world, *files)
    repair, _ = await world.consistency.repairs.plan(Filter(), COMPENSATE)
    successor, held, checked, recorded = other_replica(world), asyncio.Event(), asyncio.Event(), asyncio.Event()
    check_files, append = successor._check_files, world.consistency.repairs._ledger.append

    async def check_early(*arguments: Any, **_named: Any) -> None:
        await check_files(*arguments)
        checked.set()
        await recorded.wait()

    async def append_late(records: Any) -> Any:
        held.set()
        await checked.wait()
        result = await append(records)
        recorded.set()
        return result

    successor._check_files = check_early  # type: ignore[method-assign]
    world.consistency.repairs._ledger.append = append_late  # type: ignore[method-assign]
    applying = asyncio.create_task(apply(world, repair))
    await held.wait()
    world.clock.advance(LEASE.total_seconds() + 1)
    succeeding = asyncio.create_task(successor.apply(repair.id))
    outcomes = list((await applying).values())
    once = ("skipped", "An event of this repair says the same of the file.")
    assert sorted(outcomes) == [("applied", None)] * 3 + [once] * 3
    assert len(await list_compensations(world)) == 3
    await succeeding


async def test_a_process_that_loses_its_lease_changes_nothing_after_its_successor(world: World) -> None:
    """The first process stands still after its checks, and the successor finds a source that does not respond."""
    await world.upload(file_id := uuid4())
    findings = await open_findings(world, file_id)
    repair = await plan(world, COMPENSATE)
    ours, checked, succeeded = world.consistency.repairs, asyncio.Event(), asyncio.Event()
    check_files = ours._check_files

    async def check_and_stand_still(*arguments: Any, **_named: Any) -> None:
        await check_files(*arguments)
        checked.set()
        await succeeded.wait()

    ours._check_files = check_and_stand_still  # type: ignore[method-assign]
    applying = asyncio.create_task(apply(world, repair))
    await checked.wait()
    world.clock.advance(LEASE.total_seconds() + 1)
    world.owner.meddle = lambda _path, _reply: (503, b"")
    stored = (await other_replica(world).apply(repair.id)).results
    succeeded.set()
    assert await applying == {findings["missing"].id: ("skipped", "The source responds with status 503.")}
    assert (await ours.get(repair.id)).results == stored
    assert await list_compensations(world) == []


async def test_a_process_without_the_lease_neither_extends_nor_releases_it(world: World) -> None:
    repair = await plan(world, COMPENSATE)
    async with world.database.transaction() as session:
        repairs, lease, now = RepairRepository(session), timedelta(seconds=60), await world.clock(session)
        assert await repairs.claim(repair.id, now, lease)
        late = Repair(id=repair.id, due_at=now + lease)
        await repairs.extend(late, now + 2 * lease)
        assert (await repairs.check_lease(late)).due_at == now + 2 * lease
        assert await repairs.claim(repair.id, now + 3 * lease, lease)
        await repairs.release(late)
        with pytest.raises(LeaseLost):
            await repairs.extend(late, now + 9 * lease)
        with pytest.raises(LeaseLost):
            await repairs.check_lease(late)
        assert (await repairs.get(repair.id)).due_at == now + 4 * lease


@on_sqlite
async def test_repairs_and_refreshes_under_way_at_the_end_are_cancelled_together(
    database: Database, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = {"repair": asyncio.Event(), "refresh": asyncio.Event()}
    begun, met = list[str](), list[str]()

    async def hang(name: str, other: str) -> Any:
        begun.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled[name].set()
            async with asyncio.timeout(1):
                await cancelled[other].wait()
            met.append(name)

    async with open_consistency(make_settings(), database, open_ledger(database)) as ending:
        monkeypatch.setattr(ending.repairs, "_apply_once", lambda _id: hang("repair", "refresh"))
        monkeypatch.setattr(ending.files._checker, "check", lambda *_arguments: hang("refresh", "repair"))
        source = Source(id=uuid4())
        under_way = [ending.repairs.apply(uuid4()), ending.files._checker.refresh(source, uuid4())]
        calls = [asyncio.create_task(one) for one in under_way]
        await until(lambda: len(begun) == 2)
    await asyncio.wait(calls)
    assert sorted(met) == ["refresh", "repair"]
