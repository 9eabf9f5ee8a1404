"""What the tests of the source `cloud` share."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from app.consistency.models import Verdict
from tests.consistency.world import World

OpenWorld = Callable[..., AbstractAsyncContextManager[World]]


async def refresh(world: World, file_id: UUID) -> Verdict:
    [found] = (await world.consistency.files.refresh(file_id, "tester")).sources
    return found.verdict
