"""Fixtures of the repairs: a second source, and short waits for sources that do not respond."""

from collections.abc import AsyncIterator

import pytest

from tests.consistency.owner import Owner, serving
from tests.consistency.world import World


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
