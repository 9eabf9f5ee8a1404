"""One timer refuses whoever has waited for too long, and nobody else."""

import asyncio

import pytest

from app.events.group import Append
from app.events.ledger import CommitTooLate, Deadlines


def new_append() -> Append:
    return Append([], asyncio.get_running_loop().create_future())


async def test_each_is_refused_in_its_time() -> None:
    loop, deadlines = asyncio.get_running_loop(), Deadlines(0.2)
    began, appends = loop.time(), []
    for _ in range(3):
        deadlines.add(append := new_append())
        appends.append((append, loop.time()))
        await asyncio.sleep(0.05)
    for append, asked in appends:
        with pytest.raises(CommitTooLate):
            await append.outcome
        assert loop.time() - asked >= 0.198  # clocks may tick in milliseconds
    # The last two were each waited for anew.
    assert loop.time() - began >= 0.298


async def test_who_is_answered_is_left_alone_and_forgotten() -> None:
    deadlines = Deadlines(0.05)
    answered, left, late, after = (new_append() for _ in range(4))
    for append in (answered, left, late, after):
        deadlines.add(append)
    answered.resolve([])
    left.outcome.cancel()
    deadlines.forget_settled()
    after.resolve([])
    with pytest.raises(CommitTooLate):
        await late.outcome
    assert answered.outcome.result() == after.outcome.result() == []
    deadlines.add(again := new_append())
    with pytest.raises(CommitTooLate):
        await again.outcome


async def test_the_end_is_told_at_once_to_all_who_wait() -> None:
    deadlines = Deadlines(20)
    answered, waiting = new_append(), new_append()
    deadlines.add(answered)
    deadlines.add(waiting)
    answered.resolve([])
    deadlines.close()
    assert answered.outcome.result() == []
    with pytest.raises(CommitTooLate):
        await waiting.outcome
