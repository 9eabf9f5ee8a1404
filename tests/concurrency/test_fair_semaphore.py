"""The fair semaphore: never more than the total, a quarter kept, round robin over subjects, and no unit lost."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.concurrency.fair_semaphore import ConcurrencyLimited, FairSemaphore, Permit
from app.errors import Unavailable

Waiting = asyncio.Task[Permit]


class Busy(Unavailable):
    code = "busy"


def semaphore_of(total: int, *, timeout_seconds: float = 60) -> FairSemaphore:
    return FairSemaphore(total, resource="cake", busy=Busy, timeout_seconds=timeout_seconds)


async def ask(semaphore: FairSemaphore, subject: str, *amounts: int) -> list[Waiting]:
    tasks = [asyncio.create_task(semaphore.acquire(subject, amount)) for amount in amounts]
    await settle()
    return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def granted(tasks: Iterable[Waiting]) -> list[bool]:
    return [task.done() for task in tasks]


@pytest.mark.parametrize(("total", "most"), [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (15, 11), (20, 15)])
async def test_one_subject_may_use_all_but_a_quarter(total: int, most: int) -> None:
    semaphore = semaphore_of(total)
    greedy = await ask(semaphore, "greedy", *[1] * (total + 1))
    assert sum(granted(greedy)) == most
    others = [await ask(semaphore, f"other {number}", 1) for number in range(total - most)]
    assert all(task.done() for [task] in others)


async def test_a_subject_with_less_may_use_the_last_quarter_up_to_an_equal_part() -> None:
    semaphore = semaphore_of(20)
    greedy = await ask(semaphore, "greedy", *[1] * 15)
    modest = await ask(semaphore, "modest", *[1] * 12)
    assert sum(granted(modest)) == 5, "all that was left"
    for task in greedy[:12]:
        task.result().release()
    await settle()
    assert sum(granted(modest)) == 12, "beyond its share of ten it leaves a quarter"


async def test_waiting_subjects_take_turns_however_many_requests_one_has() -> None:
    semaphore = semaphore_of(4)
    holders = [(await ask(semaphore, f"holder {number}", 1))[0].result() for number in range(4)]
    served: list[str] = []

    async def wait(subject: str) -> None:
        permit = await semaphore.acquire(subject)
        served.append(subject)
        await asyncio.sleep(0)
        permit.release()

    waiting = [asyncio.create_task(wait(subject)) for subject in ["a"] * 50 + ["b", "b", "c"]]
    await settle()
    holders[0].release()
    await asyncio.wait(waiting)
    assert served[:6] == ["a", "b", "c", "a", "b", "a"]


async def test_a_large_request_is_not_overtaken_for_ever_by_small_ones() -> None:
    semaphore = semaphore_of(8)
    small = [(await ask(semaphore, f"small {number}", 1))[0] for number in range(8)]
    [large] = await ask(semaphore, "large", 8)
    for number, task in enumerate(small):
        await ask(semaphore, f"later {number}", 1)
        task.result().release()
    await settle()
    assert large.done()


async def test_a_subject_beyond_its_share_delays_no_other() -> None:
    semaphore = semaphore_of(8)
    greedy = await ask(semaphore, "greedy", *[1] * 9)
    assert granted(await ask(semaphore, "modest", 1)) == [True]
    assert sum(granted(greedy)) == 6


async def test_a_request_for_more_than_the_total_is_granted_the_total() -> None:
    semaphore = semaphore_of(10)
    [huge] = await ask(semaphore, "greedy", 99)
    [small] = await ask(semaphore, "modest", 1)
    assert granted([huge, small]) == [True, False]
    huge.result().release()
    huge.result().release()
    assert (await small) is not None
    assert granted(await ask(semaphore, "third", 9)) == [True]


async def test_without_units_every_request_is_refused() -> None:
    with pytest.raises(Busy):
        await semaphore_of(0, timeout_seconds=0.01).acquire("modest")


async def test_a_wait_that_ends_says_whose_fault_it_is() -> None:
    rejected: list[None] = []
    semaphore = FairSemaphore(
        4, resource="cake", busy=Busy, timeout_seconds=0.02, on_reject=lambda: rejected.append(None)
    )
    for _ in range(3):
        await semaphore.acquire("greedy")
    with pytest.raises(ConcurrencyLimited, match="share of the cake") as limited:
        await semaphore.acquire("greedy")
    assert (limited.value.status, limited.value.headers) == (429, {"Retry-After": "1"})
    last = await semaphore.acquire("modest")
    with pytest.raises(Busy) as busy:
        await semaphore.acquire("third")
    assert (busy.value.status, busy.value.headers) == (503, {"Retry-After": "1"})
    with pytest.raises(Busy):
        await semaphore.acquire("modest")  # its share is two
    last.release()
    await semaphore.acquire("third")
    assert len(rejected) == 3


async def test_units_granted_together_with_the_cancellation_are_not_lost() -> None:
    semaphore = semaphore_of(4)
    [first] = await ask(semaphore, "a", 4)
    [second] = await ask(semaphore, "b", 4)
    first.result().release()
    second.cancel()
    await settle()
    assert second.cancelled()
    assert granted(await ask(semaphore, "c", 4)) == [True]


async def test_a_request_is_cancelled_in_the_moment_in_which_the_last_unit_returns() -> None:
    semaphore = semaphore_of(1)
    [holder] = await ask(semaphore, "a", 1)
    [second] = await ask(semaphore, "a", 1)
    second.cancel()
    holder.result().release()
    await settle()
    assert second.cancelled()
    assert granted(await ask(semaphore, "a", 1)) == [True]


async def test_a_wait_ends_in_the_moment_in_which_the_last_unit_returns() -> None:
    semaphore = semaphore_of(1, timeout_seconds=0)
    holder = await semaphore.acquire("a")
    second = asyncio.create_task(semaphore.acquire("a"))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(holder.release)  # after the end of the wait, in the same turn of the loop
    with pytest.raises(Busy):
        await second
    assert granted(await ask(semaphore, "a", 1)) == [True]


async def test_a_cancelled_large_request_lets_smaller_ones_pass() -> None:
    semaphore = semaphore_of(8)
    await ask(semaphore, "a", 4)
    [large], [small] = await ask(semaphore, "b", 8), await ask(semaphore, "c", 2)
    assert granted([large, small]) == [False, False]
    large.cancel()
    await settle()
    assert granted([small]) == [True]


SUBJECTS = "abcd"
STEPS = st.lists(
    st.tuples(st.just("acquire"), st.sampled_from(SUBJECTS), st.integers(1, 14))
    | st.tuples(st.sampled_from(["release", "cancel"]), st.integers(0, 99), st.booleans()),
    max_size=60,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(total=st.integers(1, 12), steps=STEPS)
def test_whatever_happens_the_promises_hold(total: int, steps: list[tuple[str, str | int, int]]) -> None:
    asyncio.run(_play(total, steps))


async def _play(total: int, steps: list[tuple[str, str | int, int]]) -> None:
    semaphore = semaphore_of(total)
    asked: list[tuple[str, int, Waiting]] = []
    released: set[Waiting] = set()
    for step, what, amount in steps:
        if step == "acquire":
            [task] = await ask(semaphore, str(what), amount)
            asked.append((str(what), min(amount, total), task))
        elif asked:
            _, _, task = asked[int(what) % len(asked)]
            if step == "cancel" and task.cancel() and amount:
                continue  # together with the next step
            if step == "release" and task.done() and not task.cancelled():
                task.result().release()
                released.add(task)
        await settle()
        _check(total, [entry for entry in asked if entry[2] not in released and not entry[2].cancelled()])
    await _end([task for _, _, task in asked], released)
    assert granted(await ask(semaphore, "last", total)) == [True], "every unit is free in the end"


async def _end(asked: list[Waiting], released: set[Waiting]) -> None:
    """Release everything, again and again: each time somebody who waits is served."""
    await settle()
    while True:
        waiting = [task for task in asked if not task.done()]
        for task in {task for task in asked if task.done() and not task.cancelled()} - released:
            task.result().release()
            released.add(task)
        await settle()
        if not waiting:
            return
        assert any(task.done() for task in waiting), "nobody is served though all is free"


def _check(total: int, alive: list[tuple[str, int, Waiting]]) -> None:
    """No more than the total is held, a quarter is kept, and whoever could be served is."""
    held = {subject: 0 for subject, _, _ in alive}
    first: dict[str, int] = {}
    count = dict.fromkeys(held, 0)
    for subject, amount, task in alive:
        if task.done():
            held[subject] += amount
            count[subject] += 1
        else:
            first.setdefault(subject, amount)
    free, kept = total - sum(held.values()), min(-(-total // 4), total - 1)
    assert free >= 0
    if len(held) == 1:
        assert free >= kept or all(number <= 1 for number in count.values())
    share = min(total - kept, total // len(held)) if held else 0
    entitled = [amount for subject, amount in first.items() if not held[subject] or held[subject] + amount <= share]
    assert not entitled or max(entitled) > free
    others = [amount for subject, amount in first.items() if held[subject] and held[subject] + amount > share]
    assert entitled or all(free - amount < kept for amount in others)
