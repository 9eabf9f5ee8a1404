"""Plans of repairs and their application, on both databases where they differ, with real owners."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from app.consistency.schemas import Filter
from app.subscriptions.models import Delivery
from tests.consistency.repairs.support import COMPENSATE, REDELIVER, apply, list_compensations, open_findings, plan
from tests.consistency.world import World
from tests.deliveries.support import add_subscription
from tests.events.support import read_ledger
from tests.support.marks import on_sqlite


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


async def test_what_happens_between_the_file_check_and_the_compensation_counts(world: World) -> None:
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
            assert len(asked) == 8, "the second group is checked when the first is repaired"
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
        uploaded: ("skipped", "The file has an event that came after the file check."),
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
