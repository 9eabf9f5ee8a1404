"""File checks: named files, refreshes, second checks and outages, on both databases where they differ."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from app.consistency.file_service import TooManyRefreshes
from app.consistency.models import Check, CheckState, Difference, FileCheck, Finding, Source, Verdict
from app.consistency.service import open_consistency
from app.consistency.sources.repository import SourceRepository
from app.errors import NotFound
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner, Reply, serving
from tests.consistency.world import World
from tests.events.support import open_ledger
from tests.support.marks import on_sqlite


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.consistency.sources.request.FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr("app.consistency.background.QUIET_SECONDS", 0.001)


async def verdicts(world: World, file_id: UUID) -> list[Verdict]:
    return [one.verdict for one in (await world.consistency.files.read(file_id)).sources]


async def refresh(world: World, file_id: UUID) -> Verdict:
    [found] = (await world.consistency.files.refresh(file_id, "tester")).sources
    return found.verdict


async def test_named_files_are_asked_for_alone(world: World) -> None:
    files = sorted(uuid4() for _ in range(100))
    await world.upload(*files, *(uuid4() for _ in range(20)))
    world.owner.put(*files[1:])
    check = await world.check(*files)
    assert (check.state, check.total, check.compared, check.counts) == (CheckState.COMPLETE, 100, 100, {"missing": 1})
    before = UUID(int=files[0].int - 1)
    assert sorted(world.owner.paths) == sorted(
        [*(f"/inventory/{one}" for one in files), f"/inventory?after={before}&limit=1"]
    )
    assert await world.states() == {(files[0], "missing"): "suspected"}


async def test_a_404_counts_only_when_the_inventory_works(world: World) -> None:
    await world.upload(file_id := uuid4())
    world.owner.meddle = lambda _path, _reply: (404, b"")
    check = await world.check(file_id)
    assert (check.state, check.reason) == (
        CheckState.INCOMPLETE,
        "1 of 1 files could not be asked about. The source responds with status 404.",
    )
    world.owner.put(file_id)
    world.owner.meddle = lambda path, reply: reply if "?" in path else (404, b"")
    check = await world.check(file_id)
    assert check.reason is not None
    assert check.reason.endswith("The source responds 404 for a file that its inventory lists.")
    world.owner.meddle = lambda _path, _reply: (200, json.dumps({"file_id": str(uuid4())}).encode())
    assert (await world.check(file_id)).state == CheckState.INCOMPLETE
    assert await world.findings() == []


@on_sqlite
async def test_the_probe_of_the_first_id_has_no_after(world: World) -> None:
    await world.upload(UUID(int=0))
    await world.check(UUID(int=0))
    assert world.owner.paths[-1] == "/inventory?limit=1"
    assert await world.states() == {(UUID(int=0), "missing"): "suspected"}


async def test_verdicts(world: World) -> None:
    await world.upload(file_id := uuid4())
    with pytest.raises(NotFound):
        await world.consistency.files.read(uuid4())
    assert await verdicts(world, file_id) == [Verdict.UNKNOWN]
    assert await refresh(world, file_id) == Verdict.INCONSISTENT
    assert await verdicts(world, file_id) == [Verdict.INCONSISTENT]
    world.owner.put(file_id)
    assert await refresh(world, file_id) == Verdict.CONSISTENT
    assert await verdicts(world, file_id) == [Verdict.CONSISTENT]
    await world.append((file_id, "update", None))
    assert await verdicts(world, file_id) == [Verdict.IN_FLIGHT]
    assert await refresh(world, file_id) == Verdict.IN_FLIGHT
    await world.sweep()
    assert await verdicts(world, file_id) == [Verdict.IN_FLIGHT]
    await world.check()
    assert await verdicts(world, file_id) == [Verdict.CONSISTENT]
    world.owner.meddle = lambda _path, _reply: (503, b"")
    assert await refresh(world, file_id) == Verdict.UNKNOWN


async def test_a_refresh_is_a_second_check(world: World) -> None:
    await world.upload(file_id := uuid4(), size=1, blocks=["a"])
    world.owner.put(file_id, size=2, blocks=[])
    await refresh(world, file_id)
    await refresh(world, file_id)
    assert set((await world.states()).values()) == {"suspected"}
    world.clock.advance(301)
    [found] = (await world.consistency.files.refresh(file_id, "tester")).sources
    assert found.evidence == {
        "expected": {"blocks": ["a"], "block_count": 1, "size": 1},
        "found": {"blocks": [], "block_count": 0, "size": 2},
    }
    assert set((await world.states()).values()) == {"open"}


@on_sqlite
async def test_refreshes_of_one_file_share_a_file_check_and_a_subject_has_four(world: World) -> None:
    await world.upload(*(files := [uuid4() for _ in range(5)]))
    world.owner.put(*files)
    service = world.consistency.files
    async with world.database.read() as session:
        source = await SourceRepository(session).get(world.source)
    await asyncio.gather(*(service._checker.refresh(source, files[0]) for _ in range(20)))
    assert world.owner.paths == [f"/inventory/{files[0]}"]
    results = await asyncio.gather(*(service.refresh(one, "greedy") for one in files), return_exceptions=True)
    assert sum(isinstance(one, TooManyRefreshes) for one in results) == 1
    await service.refresh(files[0], "greedy")


async def test_a_finding_of_a_later_file_check_is_not_resolved_by_an_inventory_that_is_older(world: World) -> None:
    """The listing shows the file, then it is lost and a check notices; the end of the listing must not undo that."""
    files = sorted(uuid4() for _ in range(20))
    await world.upload(*files)
    await refresh(world, files[0])
    world.owner.put(*files)
    world.owner.page_items = 10
    seen = asyncio.Event()

    def note(path: str, reply: Reply) -> Reply:
        if "after" in path and "limit=1000" in path:
            seen.set()
            return 503, b""
        return reply

    world.owner.meddle = note
    check_id = await world.begin()
    await world.consistency.tasks.run_once()
    await seen.wait()
    del world.owner.files[files[0]]
    world.owner.meddle = lambda _path, reply: reply
    assert await refresh(world, files[0]) == Verdict.INCONSISTENT
    await world.consistency.tasks.settle()
    assert (await world.read_check(check_id)).state == CheckState.COMPLETE
    assert await world.states() == {(files[0], "missing"): "suspected"}


@pytest.mark.slow
async def test_an_owner_that_is_down_for_an_hour(world: World) -> None:
    files = sorted(uuid4() for _ in range(30))
    await world.upload(*files)
    world.owner.put(*files[24:])
    await world.check(*files)
    assert set((await world.states()).values()) == {"suspected"}
    world.owner.meddle = lambda _path, _reply: (503, b"")
    for _ in range(3):
        await world.age()
        assert (await world.check()).state == CheckState.INCOMPLETE
    assert set((await world.states()).values()) == {"suspected"}
    at_most = 30 + 24 + 3 * (16 + 1) * 8
    assert len(world.owner.paths) <= at_most, "a source that does not respond is not asked for every file"
    world.owner.meddle = lambda _path, reply: reply
    world.owner.put(*files[:5])
    await world.age()
    states = await world.states()
    assert sorted(states.values()) == ["open"] * 19 + ["resolved"] * 5


@on_sqlite
async def test_a_slow_source_delays_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.consistency.sources.request.FIRST_WAIT_SECONDS", 0.2)
    await world.upload(file_id := uuid4())
    async with serving(Owner(watermark=100)) as quick:
        release = asyncio.Event()
        slow_check = await world.begin(file_id)
        world.owner.put(file_id)
        world.owner.meddle = lambda _path, reply: reply if release.is_set() else None
        await world.add_source(url=quick.url)
        quick.put(file_id)
        check_id = await world.begin(file_id)
        await world.consistency.tasks.run_once()
        await asyncio.wait([world.consistency.tasks._checks[check_id]])
        assert slow_check in world.consistency.tasks._checks
        release.set()
        await world.consistency.tasks.settle()
        assert (await world.read_check(check_id)).state == CheckState.COMPLETE
        assert (await world.read_check(slow_check)).state in {CheckState.COMPLETE, CheckState.INCOMPLETE}


async def test_a_deleted_source_disappears_with_all_its_rows(world: World) -> None:
    await world.upload(file_id := uuid4())
    await world.check()
    await world.consistency.sources.delete_source(world.source)
    assert await world.findings() == []
    assert await verdicts(world, file_id) == []
    for _ in range(4):
        await world.run()
    async with world.database.read() as session:
        for table in (Source, Check, Finding, FileCheck, Difference):
            count = await session.scalar(select(func.count()).select_from(table))
            assert count == 0, table


async def test_replicas_that_see_a_difference_at_once_make_one_finding(
    world: World, make_settings: MakeSettings
) -> None:
    files = sorted(uuid4() for _ in range(5))
    await world.upload(*files)
    world.owner.put(uuid4())
    ledger = open_ledger(world.database)
    async with (
        open_consistency(make_settings(), world.database, ledger, world.clock) as second,
        open_consistency(make_settings(), world.database, ledger, world.clock) as third,
    ):
        replicas = (world.consistency, second, third)
        await world.begin()
        await asyncio.gather(
            *(one.files.refresh(file_id, f"{file_id}") for one in replicas for file_id in files),
            *(one.tasks.run_once() for one in replicas),
        )
        for one in replicas:
            await one.tasks.settle()
            await one.tasks.stop(1)
    findings = await world.findings()
    assert sorted((one.file_id, one.kind) for one in findings if one.kind == "missing") == [
        (one, "missing") for one in files
    ]
    assert len(findings) == len(files) + 1
    assert {one.state for one in findings} == {"suspected"}
