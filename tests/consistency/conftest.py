"""Fixtures of the consistency checks: owners on loopback are allowed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.consistency.service import open_consistency
from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner, serving
from tests.consistency.world import ShiftedClock, World
from tests.events.support import open_ledger
from tests.support.receiver import WEBHOOK_SETTINGS


@pytest.fixture
def special_settings() -> dict[str, Any]:
    return {
        **WEBHOOK_SETTINGS,
        "consistency_files_per_second": 0,
    }


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    """An owner that holds nothing yet, and has seen every event."""
    async with serving(Owner(watermark=1_000_000)) as owner:
        yield owner


@pytest.fixture
async def world(make_settings: MakeSettings, database: Database, owner: Owner) -> AsyncIterator[World]:
    """A ledger and an owner that is a source."""
    clock = ShiftedClock()
    async with open_consistency(make_settings(), database, open_ledger(database), clock) as consistency:
        world = World(database, consistency, owner, clock)
        await world.add_source()
        yield world
        await consistency.tasks.stop(1)


@pytest.fixture
def noting(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose sweep notes the file of every event."""
    monkeypatch.setattr("app.consistency.sources.request.FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr("app.consistency.background.QUIET_SECONDS", 0.001)
    world.by_event = True
    return world
