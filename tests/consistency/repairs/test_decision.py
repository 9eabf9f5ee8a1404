"""Which findings are compensated, against what other sources hold, and with which values."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from app.consistency.comparison import Block, Facts
from app.consistency.finding_repository import FileResult
from app.consistency.models import Kind, Source, Verdict
from app.consistency.repairs.decision import NotCompensable, encode_compensation
from app.consistency.schemas import Filter
from tests.consistency.owner import Owner
from tests.consistency.repairs.support import (
    COMPENSATE,
    REDELIVER,
    SHA,
    apply,
    list_compensations,
    list_sources,
    open_findings,
    plan,
)
from tests.consistency.world import World
from tests.support.marks import on_postgresql, on_sqlite


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
