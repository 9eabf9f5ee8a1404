"""Plans of repairs and their application, on both databases where they differ, with real owners."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from app.consistency.check_repository import CheckRepository, LeaseLost
from app.consistency.comparison import Block, Facts
from app.consistency.finding_repository import FileResult
from app.consistency.models import REPAIR_SUBJECT, Finding, Kind, Repair, RepairAction, Source, Verdict
from app.consistency.repairs.decision import NotCompensable, encode_compensation
from app.consistency.repairs.repository import RepairRepository
from app.consistency.repairs.service import LEASE, RepairService
from app.consistency.schemas import Filter
from app.events.models import SyncEvent
from app.subscriptions.models import Delivery
from tests.consistency.owner import Owner, serving
from tests.consistency.world import World
from tests.deliveries.support import add_subscription
from tests.events.support import read_ledger
from tests.support.marks import on_postgresql, on_sqlite

SHA = "ab" * 32
COMPENSATE, REDELIVER = RepairAction.COMPENSATE, RepairAction.REDELIVER
Outcomes = dict[UUID, tuple[str, str | None]]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.consistency.sources.request.FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
async def other(world: World) -> AsyncIterator[Owner]:
    """A second owner, which is a source too; `world.source` stays the first."""
    first = world.source
    async with serving(Owner(watermark=1_000_000)) as other:
        await world.add_source(url=other.url)
        world.source = first
        yield other


async def open_findings(world: World, *file_ids: UUID) -> dict[str, Finding]:
    """Look at the files twice, a grace period apart; returns the open findings of the source by kind."""
    await world.check(*file_ids)
    world.clock.advance(301)
    await world.check(*file_ids)
    return {one.kind: one for one in await world.findings(state="open", source=world.source)}


async def plan(world: World, action: RepairAction, **wanted: Any) -> Repair:
    wanted = wanted or {"source": world.source}
    return (await world.consistency.repairs.plan(Filter(**wanted), action))[0]


async def apply(world: World, repair: Repair) -> Outcomes:
    """What became of each finding."""
    applied = await world.consistency.repairs.apply(repair.id)
    assert applied.results is not None
    return {UUID(one["finding"]): (one["outcome"], one["reason"]) for one in applied.results}


async def list_compensations(world: World) -> list[SyncEvent]:
    return [one for one in await read_ledger(world.database) if one.created_by == REPAIR_SUBJECT]


async def test_each_kind_is_compensated_by_what_the_source_holds(world: World) -> None:
    lost, orphan, changed = sorted(uuid4() for _ in range(3))
    await world.upload(lost, changed, size=1, sha256=SHA, blocks=["a", {"id": "b", "size": 2}])
    found = {"size": 3, "sha256": "cd" * 32, "blocks": [{"id": "b", "size": 2}, {"id": "c", "sha256": SHA}]}
    world.owner.put(orphan, size=7)
    world.owner.put(changed, **found)
    findings = await open_findings(world, lost, orphan, changed)
    assert set(findings) == {"missing", "orphaned", "missing_block", "orphaned_block", "wrong_size", "wrong_hash"}
    repair = await plan(world, COMPENSATE)
    assert await list_compensations(world) == [], "a plan does nothing"
    outcomes = await apply(world, repair)
    assert set(outcomes.values()) == {("applied", None)}
    events = await list_compensations(world)
    assert {(one.idempotency_key, one.file_id, one.event_type) for one in events} == {
        (f"repair:{finding.id}", finding.file_id, {"missing": "delete", "orphaned": "upload"}.get(kind, "update"))
        for kind, finding in findings.items()
    }
    metadata = {one.file_id: one.event_metadata or {} for one in events}
    assert metadata[lost] == {"compensates": str(findings["missing"].id)}
    assert metadata[orphan] == {"compensates": str(findings["orphaned"].id), "size": 7}
    assert {**metadata[changed], "compensates": ""} == {**found, "compensates": ""}
    await world.sweep()
    await world.check(lost, orphan, changed)
    assert set((await world.states()).values()) == {"resolved"}


async def test_a_healed_finding_is_skipped_and_applying_twice_acts_once(world: World) -> None:
    lost, healed, accepted = sorted(uuid4() for _ in range(3))
    await world.upload(lost, healed, accepted)
    await open_findings(world, lost, healed, accepted)
    ids = {one.file_id: one.id for one in await world.findings()}
    repair = await plan(world, COMPENSATE)
    world.owner.put(healed)
    await world.accept(ids[accepted])
    outcomes = await apply(world, repair)
    assert outcomes == {
        ids[lost]: ("applied", None),
        ids[healed]: ("skipped", "The source agrees with the events now."),
        ids[accepted]: ("skipped", "The finding is accepted."),
    }
    assert (await world.states())[healed, "missing"] == "resolved"
    asked = len(world.owner.paths)
    assert await apply(world, repair) == outcomes
    assert len(world.owner.paths) == asked
    assert [one.file_id for one in await list_compensations(world)] == [lost]


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


def other_replica(world: World) -> RepairService:
    ours = world.consistency.repairs
    return RepairService(world.database, ours._ledger, ours._checker, files_at_once=8)


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
    """The successor looks at the files before the first process compensates one of them, and compares afterwards."""
    files = sorted(uuid4() for _ in range(3))
    await world.upload(*files)
    await open_findings(world, *files)
    [world.source] = [one for one in await list_sources(world) if one != world.source]
    await open_findings(world, *files)
    repair, _ = await world.consistency.repairs.plan(Filter(), COMPENSATE)
    successor, held, looked, recorded = other_replica(world), asyncio.Event(), asyncio.Event(), asyncio.Event()
    look, append = successor._check_files, world.consistency.repairs._ledger.append

    async def look_early(*arguments: Any, **_named: Any) -> None:
        await look(*arguments)
        looked.set()
        await recorded.wait()

    async def append_late(records: Any) -> Any:
        held.set()
        await looked.wait()
        result = await append(records)
        recorded.set()
        return result

    successor._check_files = look_early  # type: ignore[method-assign]
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
    ours, looked, succeeded = world.consistency.repairs, asyncio.Event(), asyncio.Event()
    look = ours._check_files

    async def look_and_stand_still(*arguments: Any, **_named: Any) -> None:
        await look(*arguments)
        looked.set()
        await succeeded.wait()

    ours._check_files = look_and_stand_still  # type: ignore[method-assign]
    applying = asyncio.create_task(apply(world, repair))
    await looked.wait()
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
async def test_a_source_that_cannot_be_asked_is_not_believed(world: World) -> None:
    await world.upload(file_id := uuid4())
    findings = await open_findings(world, file_id)
    repair = await plan(world, COMPENSATE)
    world.owner.meddle = lambda _path, _reply: (503, b"")
    assert await apply(world, repair) == {findings["missing"].id: ("skipped", "The source responds with status 503.")}
    world.owner.meddle = lambda _path, reply: reply
    repair = await plan(world, COMPENSATE)
    await world.append((file_id, "update", None))
    [(outcome, reason)] = (await apply(world, repair)).values()
    assert (outcome, reason) == ("skipped", "The file has events that the source need not know yet.")


VALUES: dict[Kind, tuple[dict[str, Any] | None, dict[str, Any] | None, dict[str, Any] | None]] = {
    # what the source holds, what another holds that agrees with the ledger, and what one holds that does not
    Kind.MISSING: (None, {"size": 9}, None),
    Kind.MISSING_BLOCK: ({"blocks": ["a"]}, {"blocks": ["b"]}, {"size": 1}),
    Kind.ORPHANED_BLOCK: ({"blocks": ["a", "b", "c"]}, {"blocks": ["a"]}, {"blocks": ["a", "b", "c", "d"]}),
    Kind.WRONG_SIZE: ({"size": 2}, {"size": 1}, {"size": 3}),
    Kind.WRONG_HASH: ({"sha256": "cd" * 32}, {"sha256": SHA.upper()}, {"size": 1}),
}


@on_sqlite
async def test_nothing_is_compensated_against_a_source_that_agrees_with_the_ledger(world: World, other: Owner) -> None:
    files = {kind: uuid4() for kind in VALUES}
    await world.upload(*files.values(), size=1, sha256=SHA, blocks=["a", "b"])
    files[Kind.ORPHANED] = orphan = uuid4()
    world.owner.put(orphan)
    for kind, (held, agreeing, _) in VALUES.items():
        for owner, members in ((world.owner, held), (other, agreeing)):
            if members is not None:
                owner.put(files[kind], **members)
    findings = await open_findings(world, *files.values())
    assert findings.keys() == files.keys()
    second = (await world.consistency.repairs.plan(Filter(), COMPENSATE))[0]
    [agreeing_source] = [one for one in await list_sources(world) if one != world.source]
    outcomes = await apply(world, await plan(world, COMPENSATE))
    assert set(outcomes.values()) == {("skipped", f"The source {agreeing_source} agrees with the events.")}
    for kind, (_, _, disagreeing) in VALUES.items():
        other.files.pop(files[kind], None)
        if disagreeing is not None:
            other.put(files[kind], **disagreeing)
    other.put(orphan)
    outcomes = await apply(world, second)
    assert {one: outcomes[finding.id][0] for one, finding in findings.items()} == dict.fromkeys(files, "applied")


async def list_sources(world: World) -> list[UUID]:
    async with world.database.read() as session:
        return list(await session.scalars(select(Source.id)))


@on_sqlite
async def test_an_unknown_or_late_source_counts_as_agreeing_and_a_disabled_one_does_not(
    world: World, other: Owner
) -> None:
    await world.upload(*(files := sorted(uuid4() for _ in range(3))))
    await open_findings(world, *files)
    other.meddle = lambda _path, _reply: (404, b"")
    [_, (outcome, reason), _] = (await apply(world, await plan(world, COMPENSATE))).values()
    assert (outcome, str(reason).endswith("could not be compared, which counts as agreement with the events.")) == (
        "skipped",
        True,
    )
    other.meddle, other.watermark = (lambda _path, reply: reply), 0
    assert {outcome for outcome, _ in (await apply(world, await plan(world, COMPENSATE))).values()} == {"skipped"}
    async with world.database.transaction() as session:
        await session.execute(update(Source).where(Source.id != world.source).values(enabled=False))
    assert set((await apply(world, await plan(world, COMPENSATE))).values()) == {("applied", None)}


@on_sqlite
async def test_a_file_that_two_sources_lack_is_deleted_once(world: World, other: Owner) -> None:
    await world.upload(file_id := uuid4())
    await open_findings(world, file_id)
    [other_id] = [one for one in await list_sources(world) if one != world.source]
    world.source = other_id
    await open_findings(world, file_id)
    repair = (await world.consistency.repairs.plan(Filter(file_id=file_id), COMPENSATE))[0]
    assert sorted((await apply(world, repair)).values()) == [
        ("applied", None),
        ("skipped", "An event of this repair says the same of the file."),
    ]
    assert len(await list_compensations(world)) == 1


@on_sqlite
async def test_values_beyond_16_kib_are_skipped(world: World) -> None:
    await world.upload(file_id := uuid4(), size=1)
    world.owner.put(file_id, size=2, blocks=[f"{number:040}" for number in range(400)])
    await open_findings(world, file_id)
    [(outcome, reason)] = (await apply(world, await plan(world, COMPENSATE))).values()
    assert (outcome, "16 KiB" in str(reason)) == ("skipped", True)
    assert await list_compensations(world) == []


@on_sqlite
async def test_what_cannot_be_compensated(world: World) -> None:
    stale, block = sorted(uuid4() for _ in range(2))
    await world.upload(stale, block, blocks=["a"])
    await world.append((stale, "update", None))
    await world.sweep()
    world.owner.put(stale, position=1)
    world.owner.put(block, blocks=[])
    assert set(await open_findings(world, stale, block)) == {"stale", "missing_block"}
    with pytest.raises(NotCompensable, match="stale"):
        await plan(world, COMPENSATE)
    await plan(world, COMPENSATE, kind=Kind.MISSING_BLOCK)
    async with world.database.transaction() as session:
        await session.execute(update(Source).values(kind="cloud"))
    with pytest.raises(NotCompensable, match="cloud"):
        await plan(world, COMPENSATE, kind=Kind.MISSING_BLOCK)
    await plan(world, REDELIVER, kind=Kind.MISSING_BLOCK)


@on_postgresql
async def test_a_compensation_makes_no_source_stale(world: World, other: Owner) -> None:
    await world.upload(file_id := uuid4(), size=1)
    world.owner.put(file_id, size=2, position=1)
    other.put(file_id, position=1)
    await open_findings(world, file_id)
    assert set((await apply(world, await plan(world, COMPENSATE))).values()) == {("applied", None)}
    await world.sweep()
    await world.check(file_id)
    await world.check()
    world.source = next(one for one in await list_sources(world) if one != world.source)
    await world.check()
    assert await world.states() == {(file_id, "wrong_size"): "resolved"}
    await world.append((file_id, "update", None))
    await world.sweep()
    await world.check()
    assert await world.states() == {(file_id, "wrong_size"): "resolved", (file_id, "stale"): "suspected"}


async def test_the_last_event_of_each_file_is_delivered_again(world: World) -> None:
    delivered, pending, unknown, accepted = sorted(uuid4() for _ in range(4))
    await world.upload(delivered, pending)
    await world.append((delivered, "update", None))
    await world.upload(accepted)
    world.owner.put(unknown)
    await open_findings(world, delivered, pending, unknown, accepted)
    findings = {one.file_id: one.id for one in await world.findings()}
    subscription = await add_subscription(world.database, url="http://127.0.0.1:1")
    at = (await read_ledger(world.database))[0].created_at
    rows = [(1, delivered, "delivered"), (3, delivered, "dead"), (2, pending, "pending")]
    async with world.database.transaction() as session:
        session.add_all(
            Delivery(
                subscription_id=subscription,
                position=position,
                file_id=file_id,
                status=status,
                created_at=at,
                settled_at=None if status == "pending" else at,
                due_at=at if status == "pending" else None,
                fence=0,
                attempts=1,
                failures=1,
            )
            for position, file_id, status in rows
        )
    repair = await plan(world, REDELIVER)

    async def accept() -> None:
        world.owner.before_reply = None
        await world.accept(findings[accepted])

    world.owner.before_reply = accept
    assert await apply(world, repair) == {
        findings[accepted]: ("skipped", "The finding is accepted."),
        findings[delivered]: ("applied", None),
        findings[pending]: ("applied", None),
        findings[unknown]: ("skipped", "There is no delivery of the file's last event."),
    }
    async with world.database.read() as session:
        found = await session.execute(select(Delivery.position, Delivery.status, Delivery.attempts))
        assert sorted(map(tuple, found)) == [(1, "delivered", 1), (2, "pending", 1), (3, "pending", 0)]
    assert await list_compensations(world) == []


@on_sqlite
async def test_a_plan_holds_open_findings_that_match(world: World) -> None:
    opened, suspected = sorted(uuid4() for _ in range(2))
    await world.upload(opened, suspected)
    findings = await open_findings(world, opened)
    await world.check(suspected)
    for wanted in ({}, {"state": "open"}, {"file_id": opened}):
        planned = (await world.consistency.repairs.plan(Filter(**wanted), COMPENSATE))[1]
        assert [one.id for one in planned] == [findings["missing"].id]
    for wanted in ({"state": "suspected"}, {"kind": "orphaned"}, {"file_id": suspected}):
        repair, planned = await world.consistency.repairs.plan(Filter(**wanted), COMPENSATE)
        assert planned == []
        assert await apply(world, repair) == {}


@on_sqlite
async def test_a_finding_that_was_compensated_before_and_differs_again(world: World) -> None:
    await world.upload(file_id := uuid4(), size=1)
    world.owner.put(file_id, size=2)
    await open_findings(world, file_id)
    await apply(world, await plan(world, COMPENSATE))
    world.owner.put(file_id, size=3)  # before any check has seen the two agree
    await world.sweep()
    [(outcome, reason)] = (await apply(world, await plan(world, COMPENSATE))).values()
    assert (outcome, "compensated before" in str(reason)) == ("skipped", True)


async def test_what_happens_between_the_look_and_the_compensation_counts(world: World) -> None:
    files = sorted(uuid4() for _ in range(10))  # two groups
    await world.upload(*files)
    await open_findings(world, *files)
    ids = {one.file_id: one.id for one in await world.findings()}
    repair = await plan(world, COMPENSATE)
    ledger = world.consistency.repairs._ledger
    append, asked_before = ledger.append, len(world.owner.paths)
    compensated: list[UUID] = []

    async def append_late(records: Any) -> Any:
        if not compensated:
            asked = {path for path in world.owner.paths[asked_before:] if "?" not in path}
            assert len(asked) == 8, "the second group is looked at when the first is repaired"
            left = [one for one in files[:8] if one != records[0].file_id]
            await world.append((left[0], "upload", None))
            await world.accept(ids[left[1]])
            await world.append((files[9], "upload", None))
            compensated.extend(left[:2])
        return await append(records)

    ledger.append = append_late  # type: ignore[method-assign]
    outcomes = await apply(world, repair)
    uploaded, accepted = compensated
    assert {one: outcomes.pop(ids[one]) for one in (uploaded, accepted, files[9])} == {
        uploaded: ("skipped", "The file has an event that came after the look at it."),
        accepted: ("skipped", "The finding is accepted."),
        files[9]: ("skipped", "The file has events that the source need not know yet."),
    }
    assert set(outcomes.values()) == {("applied", None)}
    assert len(await list_compensations(world)) == 7


@on_sqlite
async def test_a_source_that_stops_responding_is_not_asked_for_the_other_files(world: World) -> None:
    files = sorted(uuid4() for _ in range(17))
    await world.upload(*files)
    await open_findings(world, *files)
    repair, asked_before = await plan(world, COMPENSATE), len(world.owner.paths)
    world.owner.meddle = lambda _path, _reply: (503, b"")
    assert {outcome for outcome, _ in (await apply(world, repair)).values()} == {"skipped"}
    assert len(world.owner.paths) - asked_before <= 16, "8 files, twice each"


@on_postgresql  # which can keep neither
async def test_a_block_id_that_no_event_may_hold_is_not_compared_and_not_recorded(world: World) -> None:
    for number, block_id in enumerate(("a\x00", "a\ud800"), 1):
        await world.upload(file_id := uuid4(), size=1, blocks=["a"])
        world.owner.put(file_id, size=2, blocks=[block_id])
        assert set(await open_findings(world, file_id)) == {"wrong_size"}
        assert set((await apply(world, await plan(world, COMPENSATE))).values()) == {("applied", None)}
        assert len(events := await list_compensations(world)) == number
        assert (events[-1].event_metadata or {}).keys() == {"compensates", "size"}
        world.owner.put(file_id, size=2, blocks=["a"])
        await world.sweep()
        await world.check(file_id)
        assert (await world.states())[file_id, "wrong_size"] == "resolved"
        seen = FileResult(uuid4(), Verdict.INCONSISTENT, 1, {}, found=Facts(blocks={block_id: Block()}))
        assert encode_compensation(uuid4(), seen) is None


@on_sqlite
async def test_no_value_is_recorded_that_another_source_denies(world: World, other: Owner) -> None:
    await world.upload(file_id := uuid4(), size=1, blocks=["a", "b"])
    world.owner.put(file_id, size=2, blocks=["a"])
    other.put(file_id, size=1, blocks=["a"])
    findings = await open_findings(world, file_id)
    assert findings.keys() == {"wrong_size", "missing_block"}
    [denying] = [one for one in await list_sources(world) if one != world.source]
    outcomes = await apply(world, await plan(world, COMPENSATE))
    assert outcomes == {
        findings["wrong_size"].id: ("skipped", f"The source {denying} agrees with the events."),
        findings["missing_block"].id: ("skipped", f"The source {denying} agrees with the events about the wrong_size."),
    }
    assert await list_compensations(world) == []
    other.put(file_id, size=2, blocks=["a"])
    assert set((await apply(world, await plan(world, COMPENSATE))).values()) == {("applied", None)}


@on_sqlite
async def test_the_sizes_and_hashes_of_blocks_outlive_a_source_that_gives_none(world: World) -> None:
    known = [{"id": "a", "size": 0, "sha256": SHA}, {"id": "b", "size": 2}]
    await world.upload(file_id := uuid4(), size=1, blocks=known)
    world.owner.put(file_id, size=2, blocks=["a", {"id": "b", "size": 3}, "c"])
    await open_findings(world, file_id)
    await apply(world, await plan(world, COMPENSATE, kind=Kind.ORPHANED_BLOCK))
    [event] = await list_compensations(world)
    assert (event.event_metadata or {})["blocks"] == [known[0], {"id": "b", "size": 3}, {"id": "c"}]
