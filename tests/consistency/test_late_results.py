"""Results that come late, sources that change meanwhile, and cancellation, on both databases."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from app.consistency.check_repository import CheckEnded
from app.consistency.finding_repository import FileResult, FindingRepository
from app.consistency.models import Check, CheckState, Difference, FindingState, Kind, Verdict
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.request import BACKGROUND, SourceError
from app.consistency.sources.schemas import SourceChange
from tests.consistency.owner import Reply
from tests.consistency.world import World

EVIDENCE: dict[str, Any] = {"expected": {}, "found": {}}


async def test_an_error_keeps_nothing_of_the_response(world: World) -> None:
    await world.upload(*(files := [uuid4() for _ in range(3)]))
    world.owner.meddle = lambda _path, _reply: (200, b"[" * 5)
    async with world.database.read() as session:
        source = await SourceRepository(session).get(world.source)
    asked = await world.consistency.files._checker.ask(source, files, BACKGROUND)
    for error in asked.found.values():
        assert isinstance(error, SourceError)
        assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)


async def test_an_older_result_changes_nothing_that_a_later_file_check_saw(world: World) -> None:
    await world.upload(file_id := uuid4())
    world.owner.put(file_id)
    await world.consistency.files.refresh(file_id, "tester")
    async with world.database.transaction() as session:
        source = await SourceRepository(session).get(world.source, for_change=True)
        before = await world.clock(session) - timedelta(seconds=60)
        repository = FindingRepository(session)
        await repository.apply_staged(
            source, [Difference(file_id=file_id, kind=Kind.MISSING, evidence=EVIDENCE, seen_at=before)]
        )
        seen = FileResult(file_id, Verdict.INCONSISTENT, 1, {Kind.MISSING: EVIDENCE})
        await repository.record_file_checks(source, [seen], before)
    assert await world.findings() == []
    [found] = (await world.consistency.files.read(file_id)).sources
    assert found.verdict == Verdict.CONSISTENT
    del world.owner.files[file_id]
    await world.consistency.files.refresh(file_id, "tester")
    async with world.database.transaction() as session:
        source = await SourceRepository(session).get(world.source, for_change=True)
        await FindingRepository(session).record_file_checks(source, [seen], before)
    [finding] = await world.findings()
    assert finding.evidence != EVIDENCE
    assert finding.state == FindingState.SUSPECTED


async def test_a_check_is_cancelled_until_its_differences_are_applied(world: World) -> None:
    check_id = await world.begin()
    fence = (await world.read_check(check_id)).fence
    check = await world.cancel(check_id)
    assert (check.state, check.fence) == (CheckState.CANCELLED, fence + 1)
    with pytest.raises(CheckEnded):
        await world.cancel(check_id)
    check_id = await world.begin()
    async with world.database.transaction() as session:
        await session.execute(update(Check).where(Check.id == check_id).values(is_listed=True))
    with pytest.raises(CheckEnded):
        await world.cancel(check_id)
    await world.run()
    assert (await world.read_check(check_id)).state == CheckState.COMPLETE


async def test_a_source_that_is_disabled_is_asked_nothing_more(world: World) -> None:
    files = sorted(uuid4() for _ in range(60))
    await world.upload(*files)
    world.owner.put(*files)
    world.owner.page_items = 10
    asked, disabled = asyncio.Event(), asyncio.Event()

    def hold(_path: str, reply: Reply) -> Reply | None:
        asked.set()
        return reply if disabled.is_set() else None

    for named in ((), files):
        asked.clear()
        disabled.clear()
        world.owner.meddle = hold
        check_id = await world.begin(*named)
        await world.consistency.tasks.run_once()
        await asked.wait()
        await world.consistency.sources.change_source(world.source, SourceChange(enabled=False))
        disabled.set()
        world.owner.paths.clear()
        await world.consistency.tasks.settle()
        check = await world.read_check(check_id)
        assert (check.state, check.reason) == (CheckState.INCOMPLETE, "The source was disabled.")
        assert len(world.owner.paths) <= 60 - 10
        await world.consistency.sources.change_source(world.source, SourceChange(enabled=True))
