"""What there is only so much of: shared in order, never lost."""

import asyncio
import random

from app.concurrency.weighted_semaphore import Budget


async def taken(budget: Budget, *sizes: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(budget.take(size)) for size in sizes]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def done(tasks: list[asyncio.Task[int]]) -> list[bool]:
    return [task.done() for task in tasks]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_bodies_share_the_room() -> None:
    assert done(await taken(Budget(10), 4, 6)) == [True, True]


async def test_who_asks_later_waits_even_if_there_is_room() -> None:
    budget = Budget(10)
    first, large, small = await taken(budget, 4, 7, 1)
    assert done([first, large, small]) == [True, False, False]
    budget.give_back(await first)
    await settle()
    assert done([large, small]) == [True, True]


async def test_a_body_larger_than_the_room_takes_all_of_it() -> None:
    budget = Budget(10)
    huge, small = await taken(budget, 99, 1)
    assert done([huge, small]) == [True, False]
    assert await huge == 10
    budget.give_back(10)
    assert await small == 1


async def test_who_gives_up_holds_nobody_up() -> None:
    budget = Budget(10)
    first, large, small = await taken(budget, 5, 9, 5)
    large.cancel()
    await settle()
    assert done([first, small]) == [True, True]
    assert large.cancelled()


async def test_room_that_came_together_with_the_cancellation_is_not_lost() -> None:
    budget = Budget(10)
    first, second = await taken(budget, 10, 10)
    budget.give_back(await first)
    second.cancel()
    await settle()
    assert second.cancelled()
    assert await asyncio.wait_for(budget.take(10), 1) == 10


async def test_whatever_happens_the_room_is_all_there_in_the_end() -> None:
    dice = random.Random(7)  # noqa: S311 - no secret
    budget = Budget(100)
    under_way = 0

    async def body() -> None:
        nonlocal under_way
        size = await budget.take(dice.randint(1, 120))
        under_way += size
        assert under_way <= 100
        try:
            await asyncio.sleep(dice.random() / 1000)
        finally:
            under_way -= size
            budget.give_back(size)

    tasks = [asyncio.create_task(body()) for _ in range(500)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.001)
        dice.choice(tasks).cancel()
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert await asyncio.wait_for(budget.take(100), 1) == 100


async def test_who_overdraws_does_not_wait_and_others_do() -> None:
    budget = Budget(10)
    [first] = await taken(budget, 4)
    assert budget.overdraw(20) == 20
    [second] = await taken(budget, 1)
    budget.give_back(await first)
    await settle()
    assert done([second]) == [False]
    budget.give_back(20)
    await settle()
    assert done([second]) == [True]
