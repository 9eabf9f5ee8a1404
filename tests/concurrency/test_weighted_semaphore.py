"""The weighted semaphore serves waiters in order and loses no units."""

import asyncio
import random

from app.concurrency.weighted_semaphore import WeightedSemaphore


async def taken(semaphore: WeightedSemaphore, *sizes: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(semaphore.acquire(size)) for size in sizes]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def done(tasks: list[asyncio.Task[int]]) -> list[bool]:
    return [task.done() for task in tasks]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_share_the_units() -> None:
    assert done(await taken(WeightedSemaphore(10), 4, 6)) == [True, True]


async def test_a_later_request_waits_even_if_its_units_are_free() -> None:
    semaphore = WeightedSemaphore(10)
    first, large, small = await taken(semaphore, 4, 7, 1)
    assert done([first, large, small]) == [True, False, False]
    semaphore.release(await first)
    await settle()
    assert done([large, small]) == [True, True]


async def test_a_request_for_more_than_the_total_is_granted_the_total() -> None:
    semaphore = WeightedSemaphore(10)
    huge, small = await taken(semaphore, 99, 1)
    assert done([huge, small]) == [True, False]
    assert await huge == 10
    semaphore.release(10)
    assert await small == 1


async def test_a_cancelled_waiter_delays_no_other() -> None:
    semaphore = WeightedSemaphore(10)
    first, large, small = await taken(semaphore, 5, 9, 5)
    large.cancel()
    await settle()
    assert done([first, small]) == [True, True]
    assert large.cancelled()


async def test_units_granted_together_with_the_cancellation_are_not_lost() -> None:
    semaphore = WeightedSemaphore(10)
    first, second = await taken(semaphore, 10, 10)
    semaphore.release(await first)
    second.cancel()
    await settle()
    assert second.cancelled()
    assert await asyncio.wait_for(semaphore.acquire(10), 1) == 10


async def test_all_units_are_free_in_the_end() -> None:
    dice = random.Random(7)  # noqa: S311 - no secret
    semaphore = WeightedSemaphore(100)
    under_way = 0

    async def body() -> None:
        nonlocal under_way
        size = await semaphore.acquire(dice.randint(1, 120))
        under_way += size
        assert under_way <= 100
        try:
            await asyncio.sleep(dice.random() / 1000)
        finally:
            under_way -= size
            semaphore.release(size)

    tasks = [asyncio.create_task(body()) for _ in range(500)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.001)
        dice.choice(tasks).cancel()
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert await asyncio.wait_for(semaphore.acquire(100), 1) == 100


async def test_overdrawing_does_not_wait_and_others_do() -> None:
    semaphore = WeightedSemaphore(10)
    [first] = await taken(semaphore, 4)
    assert semaphore.overdraw(20) == 20
    [second] = await taken(semaphore, 1)
    semaphore.release(await first)
    await settle()
    assert done([second]) == [False]
    semaphore.release(20)
    await settle()
    assert done([second]) == [True]
