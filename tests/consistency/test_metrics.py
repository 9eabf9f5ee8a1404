"""The metrics of the consistency checks, and their row in the health."""

from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.consistency.metrics import ConsistencyMetrics
from app.consistency.models import CheckState
from app.operations.repository import StatusRepository
from tests.consistency.owner import Owner
from tests.consistency.routes import add_source, run_check
from tests.consistency.world import World
from tests.support.marks import on_sqlite
from tests.support.waiting import get_once_connected


async def test_open_findings_and_due_file_checks_are_counted(world: World) -> None:
    await world.upload(uuid4(), uuid4())
    await world.check()
    await world.age()
    async with world.database.read() as session:
        status = await StatusRepository(await session.connection()).get_status()
    [findings] = status.open_findings
    assert (findings.kind, findings.source, findings.number) == ("missing", str(world.source), 2)
    assert status.oldest_open_finding_age_seconds >= 0
    assert status.due_file_checks == 0


async def test_findings_of_a_deleted_source_take_no_place_among_the_counted_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.operations.repository.MAX_COUNTED", 2)
    await world.upload(uuid4(), uuid4())
    deleted, kept = world.source, await world.add_source()
    for world.source in (deleted, kept):
        await world.check()
        await world.age()
    await world.consistency.sources.delete_source(deleted)
    async with world.database.read() as session:
        status = await StatusRepository(await session.connection()).get_status()
    assert [(one.source, one.number) for one in status.open_findings] == [(str(kept), 2)]


@on_sqlite
async def test_checks_are_counted_over_http(client: httpx.AsyncClient, owner: Owner) -> None:
    owner.put(uuid4(), uuid4())
    await run_check(client, (await add_source(client, owner))["id"])
    text = (await get_once_connected(client, "/metrics")).text
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("sync_consistency")
    }
    assert values["sync_consistency_checks_total", "complete"] == 1
    assert values["sync_consistency_files_compared_total",] == 2
    assert values["sync_consistency_checks_total", "suspect"] == 0
    health = (await get_once_connected(client)).json()
    assert (health["status"], health["open_findings"]) == ("healthy", 0)


def test_a_running_check_is_no_outcome() -> None:
    metrics = ConsistencyMetrics()
    metrics.changed(5, CheckState.RUNNING)
    assert metrics._files._value.get() == 5
