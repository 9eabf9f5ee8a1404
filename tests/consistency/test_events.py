"""Checks by event: the file of every processed event is checked, with a real owner."""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.file_check_repository import FileCheckHandler
from app.consistency.models import CheckState, FileCheck
from app.sweep.repository import SweepRepository
from tests.consistency.owner import Owner, Reply, serving
from tests.consistency.world import GRACE, World
from tests.support.waiting import until

LAG_SECONDS, EVENTS = (3.0, 1000) if "SYNC_TEST_CHAOS_SECONDS" in os.environ else (0.5, 200)
EVENTS_PER_SECOND, FILES = 200, 120


async def count_due(world: World) -> int:
    async with world.database.read() as session:
        return (await session.execute(select(func.count()).where(FileCheck.due_at.is_not(None)))).scalar_one()


async def test_a_broken_upload_is_an_open_finding_minutes_later(noting: World) -> None:
    broken, well = sorted((uuid4(), uuid4()))
    await noting.upload(broken, well, size=5)
    noting.owner.put(well, size=5)
    await noting.run()
    assert noting.owner.paths == [], "the owner has its grace period"
    await noting.age()
    before = UUID(int=broken.int - 1)
    paths = {f"/inventory/{broken}", f"/inventory/{well}", f"/inventory?after={before}&limit=1"}
    assert set(noting.owner.paths) == paths, "it is asked for these two, and once more for the one that it lacks"
    assert await noting.states() == {(broken, "missing"): "suspected"}
    await noting.age()
    assert await noting.states() == {(broken, "missing"): "open"}
    assert noting.owner.paths.count(f"/inventory/{well}") == 1
    noting.owner.put(broken, size=5)
    await noting.append((broken, "update", None))
    await noting.sweep()
    await noting.age()
    assert await noting.states() == {(broken, "missing"): "resolved"}
    assert await count_due(noting) == 0


async def test_a_later_event_postpones_the_file_check(noting: World) -> None:
    await noting.upload(file_id := uuid4())
    await noting.age(GRACE - 100)
    await noting.upload(file_id)
    await noting.age(GRACE - 100)
    assert noting.owner.paths == []
    await noting.age(101)
    assert len(noting.owner.paths) == 2
    assert [one.file_id for one in await noting.list_file_checks()] == [file_id]


async def test_an_event_during_a_file_check_causes_another(noting: World) -> None:
    await noting.upload(file_id := uuid4())
    noting.owner.put(file_id)
    asked = asyncio.Event()

    def note(_path: str, reply: Reply) -> Reply:
        asked.set()
        return reply

    noting.owner.meddle = note
    noting.clock.advance(GRACE + 1)
    await noting.consistency.tasks.run_once()
    await asked.wait()
    await noting.append((file_id, "delete", None))
    await noting.sweep()
    await noting.consistency.tasks.settle()
    assert await count_due(noting) == 1
    await noting.age()
    await noting.age()
    assert await noting.states() == {(file_id, "orphaned"): "open"}


async def test_each_enabled_source_has_one_row_a_file(noting: World) -> None:
    first = noting.source
    second = await noting.add_source(grace_seconds=60)
    await noting.add_source(enabled=False)
    files = sorted(uuid4() for _ in range(3))
    await noting.append(*((one, type_, None) for one in files for type_ in ("upload", "update", "delete")))
    await noting.sweep()
    checks = await noting.list_file_checks()
    assert sorted((one.source_id, one.file_id) for one in checks) == sorted(
        (source, one) for source in (first, second) for one in files
    )
    due = {one.source_id: one.due_at for one in checks if one.due_at is not None}
    assert due[first] - due[second] == timedelta(seconds=GRACE - 60)


async def test_a_batch_costs_one_statement_with_sources_and_none_without(noting: World) -> None:
    await noting.append(*((uuid4(), "upload", None) for _ in range(100)))
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    for expected in (1, 0):
        event.listen(noting.database.engine.sync_engine, "before_cursor_execute", note)
        async with noting.database.transaction() as session:
            await FileCheckHandler(noting.clock).handle(session, range(1, 101))
        event.remove(noting.database.engine.sync_engine, "before_cursor_execute", note)
        assert sum(one.startswith("INSERT") for one in statements) == expected
        assert len([one for one in statements if not one.startswith("BEGIN")]) == 1 + expected
        statements.clear()
        if expected:
            await noting.consistency.sources.delete_source(noting.source)


class Refusing:
    """A handler that refuses the events of one file."""

    def __init__(self, file_id: UUID) -> None:
        self.file_id = file_id

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        if self.file_id in {one.file_id for one in await SweepRepository(session).list_at(positions)}:
            raise ValueError("refused")


async def test_a_refused_event_is_noted_when_it_is_processed(noting: World) -> None:
    files = sorted(uuid4() for _ in range(9))
    await noting.append(*((one, "upload", None) for one in files))
    await noting.sweep(Refusing(files[4]))
    assert [one.file_id for one in await noting.list_file_checks()] == [*files[:4], *files[5:]]

    async def all_are_noted() -> bool:
        await noting.sweep()
        return [one.file_id for one in await noting.list_file_checks()] == files

    await until(all_are_noted)


@pytest.mark.slow
async def test_an_owner_that_is_down_for_an_hour_is_asked_for_everything_afterwards(noting: World) -> None:
    files = sorted(uuid4() for _ in range(100))
    await noting.upload(*files[:10])
    await noting.age()
    before = await noting.states()
    assert set(before.values()) == {"suspected"}
    noting.owner.meddle = lambda _path, _reply: (503, b"")
    noting.owner.paths.clear()
    for number in range(3):
        await noting.upload(*files[10 + 30 * number : 40 + 30 * number], *files[10:20])
        await noting.age(600)
    assert await noting.states() == before
    assert await count_due(noting) <= 100, "one row a file, however many events"
    assert len(noting.owner.paths) < 3 * 2 * 8 * 8, "a source that does not respond is not asked for every file"
    noting.owner.meddle = lambda _path, reply: reply
    noting.owner.put(*files[5:])
    for _ in range(2):
        await noting.age()
    assert await count_due(noting) == 0
    states = await noting.states()
    assert sorted(states.values()) == ["open"] * 5 + ["resolved"] * 5


@pytest.mark.slow
async def test_owners_seconds_behind_are_never_wrong(noting: World) -> None:
    """200 events a second; meanwhile checks by event and five full ones, of owners with and without a watermark."""
    await noting.consistency.sources.delete_source(noting.source)
    async with serving(Owner()) as other:
        sources = [
            await noting.add_source(grace_seconds=1),
            await noting.add_source(url=other.url, grace_seconds=int(2 * LAG_SECONDS)),
        ]
        followers = [Follower(noting.owner, has_watermark=True), Follower(other, has_watermark=False)]

        async def check() -> None:
            for number in range(5):
                noting.source = sources[number % 2]
                result = await noting.check()
                assert (result.state, result.counts) == (CheckState.COMPLETE, {}), result.reason
                await asyncio.sleep(LAG_SECONDS / 3)

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write(noting, *followers))
            for follower in followers:
                group.create_task(follower.run(writing))
            group.create_task(check())
        noting.clock.advance(GRACE)
        await noting.run()
        assert await noting.findings() == []
        for owner in (noting.owner, other):
            assert len(owner.paths) > FILES, "files were checked"


class Follower:
    """Applies each event to the owner seconds after it was recorded."""

    def __init__(self, owner: Owner, *, has_watermark: bool) -> None:
        self.owner = owner
        self.has_watermark = has_watermark
        self.waiting: deque[tuple[float, int, UUID, str]] = deque()
        owner.watermark = 0 if has_watermark else None

    async def run(self, writing: asyncio.Task[None]) -> None:
        """Follow until everything that was written is applied."""
        while self.waiting or not writing.done():
            self.follow()
            await asyncio.sleep(0.02)

    def follow(self) -> None:
        until = asyncio.get_running_loop().time() - LAG_SECONDS
        while self.waiting and self.waiting[0][0] <= until:
            _, position, file_id, event_type = self.waiting.popleft()
            if event_type == "delete":
                self.owner.files.pop(file_id, None)
            else:
                self.owner.put(file_id, position=position)
            self.owner.watermark = position if self.has_watermark else None


async def write(world: World, *followers: Follower) -> None:
    """Record and process events, 200 a second."""
    loop, random = asyncio.get_running_loop(), Random(3)  # noqa: S311 - the same in every run
    files = [uuid4() for _ in range(FILES)]
    for first in range(1, EVENTS + 1, 20):
        started = loop.time()
        events = [(random.choice(files), random.choice(["upload", "update", "delete"])) for _ in range(20)]
        await world.append(*((*one, None) for one in events))
        for follower in followers:
            follower.waiting += [(loop.time(), position, *one) for position, one in enumerate(events, first)]
        await world.sweep()
        await asyncio.sleep(20 / EVENTS_PER_SECOND - (loop.time() - started))
