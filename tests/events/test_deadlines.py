"""An append is refused once its own time is over, and at once when the ledger closes."""

import asyncio
from typing import Any

import pytest

from app.database.engine import Database
from app.events.ledger import CommitTooLate, Ledger
from tests.conftest import MakeSettings
from tests.events.support import record


class Slow(Ledger):
    """Writes nothing; the append of the key `quick` gets its receipts, all others get nothing."""

    async def _write(self, group: list[Any]) -> None:
        for append in group:
            if append.records[0].idempotency_key == "quick":
                append.resolve([])
        await asyncio.Event().wait()


@pytest.fixture
def slow(make_settings: MakeSettings, request: pytest.FixtureRequest) -> Slow:
    """A ledger with the time-out of the parameter, in seconds."""
    database = Database(make_settings(database_url="sqlite+aiosqlite:///unused.db"))
    return Slow(database, group_size=1, queue_size=10, append_timeout_seconds=request.param)


@pytest.mark.parametrize("slow", [0.2], indirect=True)
async def test_each_is_refused_in_its_time(slow: Slow) -> None:
    loop = asyncio.get_running_loop()
    began, appends = loop.time(), []
    for _ in range(3):
        appends.append((asyncio.create_task(slow.append([record()])), loop.time()))
        await asyncio.sleep(0.05)
    for append, asked in appends:
        with pytest.raises(CommitTooLate):
            await append
        assert loop.time() - asked >= 0.198  # clocks may tick in milliseconds
    assert loop.time() - began >= 0.298, "the last two have times of their own"
    await slow.close(0)


@pytest.mark.parametrize("slow", [0.1], indirect=True)
async def test_an_append_with_an_outcome_or_without_a_caller_is_left_alone(slow: Slow) -> None:
    resolved = asyncio.create_task(slow.append([record(idempotency_key="quick")]))
    left, late = (asyncio.create_task(slow.append([record()])) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(CommitTooLate):
        await late
    assert await resolved == []
    assert left.cancelled()
    await slow.close(0)


@pytest.mark.parametrize("slow", [20], indirect=True)
async def test_closing_refuses_every_append_that_waits(slow: Slow) -> None:
    resolved = asyncio.create_task(slow.append([record(idempotency_key="quick")]))
    waiting = [asyncio.create_task(slow.append([record()])) for _ in range(2)]
    await asyncio.sleep(0)
    await slow.close(0.05)
    assert await resolved == []
    for append in waiting:
        with pytest.raises(CommitTooLate):
            await append
