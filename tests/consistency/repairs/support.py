"""What the tests of repairs do: open findings, plan a repair, apply it, read what it recorded."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from app.consistency.models import REPAIR_SUBJECT, Finding, Repair, RepairAction, Source
from app.consistency.repairs.service import RepairService
from app.consistency.schemas import Filter
from app.events.models import SyncEvent
from tests.consistency.world import World
from tests.events.support import read_ledger

SHA = "ab" * 32
COMPENSATE, REDELIVER = RepairAction.COMPENSATE, RepairAction.REDELIVER
Outcomes = dict[UUID, tuple[str, str | None]]


async def open_findings(world: World, *file_ids: UUID) -> dict[str, Finding]:
    """Check the files twice, a grace period apart; returns the open findings of the source by kind."""
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


def other_replica(world: World) -> RepairService:
    ours = world.consistency.repairs
    return RepairService(world.database, ours._ledger, ours._checker, files_at_once=8)


async def list_sources(world: World) -> list[UUID]:
    async with world.database.read() as session:
        return list(await session.scalars(select(Source.id)))
