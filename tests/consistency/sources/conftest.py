"""Fixtures of the sources: the world of these tests has the source `cloud`, beside the siblings of the examples."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.consistency.service import open_consistency
from app.consistency.sources.repository import CLOUD_ID
from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner
from tests.consistency.sources.siblings import Siblings, serve_siblings, token_of
from tests.consistency.sources.support import OpenWorld
from tests.consistency.world import ShiftedClock, World
from tests.events.support import open_ledger


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.consistency.sources.request.FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
async def siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Siblings]:
    async with serve_siblings(tmp_path, monkeypatch) as siblings:
        yield siblings


@pytest.fixture
def open_world(make_settings: MakeSettings, database: Database, siblings: Siblings) -> OpenWorld:
    """A ledger beside the siblings. Its events are older than the grace period as soon as they are processed."""

    @asynccontextmanager
    async def open_(**changes: Any) -> AsyncIterator[World]:
        settings = {
            "webhook_allow_private_addresses": False,  # the addresses of the environment are trusted
            "webhook_ports": (443,),
            "metadata_service_url": siblings.metadata_url,
            "block_storage_service_url": siblings.block_url,
            "consistency_token": token_of("owner"),
            **changes,
        }
        clock = ShiftedClock()
        clock.advance(400)
        async with open_consistency(make_settings(**settings), database, open_ledger(database), clock) as consistency:
            world = World(database, consistency, Owner(), clock, CLOUD_ID)
            await world.run()
            yield world
            await consistency.tasks.stop(1)

    return open_


@pytest.fixture
async def world(open_world: OpenWorld) -> AsyncIterator[World]:
    async with open_world(consistency_token_sees_all=True) as world:
        yield world
