"""A pass repeats until it is stopped, and a call until its block ends, whatever it raises."""

import asyncio
import time

import structlog

from app.concurrency.task import PeriodicTask, repeating
from app.errors import Unavailable
from app.log.sparing import SparingLog
from tests.support.waiting import until


async def test_a_pass_runs_again_and_again_until_it_is_stopped() -> None:
    passes = asyncio.Queue[bool]()

    async def run(stopping: asyncio.Event) -> None:
        passes.put_nowait(stopping.is_set())

    task = PeriodicTask("test", run, 0.001)
    task.start()
    assert [await passes.get() for _ in range(3)] == [False] * 3
    await task.stop(1)
    while not passes.empty():
        passes.get_nowait()
    await asyncio.sleep(0.01)
    assert passes.empty()


async def test_a_pass_that_fails_is_logged_and_repeated() -> None:
    failures: list[Exception] = [Unavailable(), ZeroDivisionError("a bug")]
    survived = asyncio.Event()

    async def run(_stopping: asyncio.Event) -> None:
        if failures:
            raise failures.pop(0)
        survived.set()

    task = PeriodicTask("test", run, 0.001)
    with structlog.testing.capture_logs() as lines:
        task.start()
        await asyncio.wait_for(survived.wait(), 5)
        await task.stop(1)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("pass postponed", "warning"),
        ("pass failed", "error"),
    ]


async def test_a_pass_that_fails_at_every_interval_is_not_logged_each_time() -> None:
    passes = 0

    async def run(_stopping: asyncio.Event) -> None:
        nonlocal passes
        passes += 1
        raise Unavailable if passes % 2 else ZeroDivisionError

    task = PeriodicTask("test", run, 0.001)
    with structlog.testing.capture_logs() as lines:
        task.start()
        await until(lambda: passes > 20)
        await task.stop(1)
    assert sorted(line["event"] for line in lines) == ["pass failed", "pass postponed"]


async def test_a_pass_sees_the_stop_and_ends_by_itself() -> None:
    ended = asyncio.Event()

    async def run(stopping: asyncio.Event) -> None:
        await stopping.wait()
        ended.set()

    task = PeriodicTask("test", run, 3600, at_once=True)
    task.start()
    await asyncio.sleep(0)
    await task.stop(5)
    assert ended.is_set()


async def test_a_pass_that_does_not_end_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def run(_stopping: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = PeriodicTask("test", run, 3600, at_once=True)
    task.start()
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as lines:
        await task.stop(0.01)
    assert cancelled.is_set()
    assert [line["event"] for line in lines] == ["pass cancelled at shutdown"]


async def test_stopping_what_never_started_does_nothing() -> None:
    await PeriodicTask("test", lambda _stopping: asyncio.sleep(0), 1).stop(1)


async def test_passes_that_start_together_do_not_run_in_step() -> None:
    began = list[float]()

    async def run(_stopping: asyncio.Event) -> None:
        began.append(time.monotonic())

    tasks = [PeriodicTask("test", run, 0.5) for _ in range(20)]
    for task in tasks:
        task.start()
    await until(lambda: len(began) >= 20)
    await asyncio.gather(*(task.stop(1) for task in tasks))
    assert max(began) - min(began) > 0.1


async def test_what_wakes_a_task_starts_its_first_pass() -> None:
    wake, ran = asyncio.Event(), asyncio.Event()

    async def run(_stopping: asyncio.Event) -> None:
        ran.set()

    task = PeriodicTask("test", run, 3600, wake)
    task.start()
    wake.set()
    await asyncio.wait_for(ran.wait(), 5)
    await task.stop(1)


async def test_a_call_is_repeated_during_a_block_though_it_fails() -> None:
    failures: list[Exception] = [Unavailable(), ZeroDivisionError("a bug"), ZeroDivisionError("a bug")]
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        if failures:
            raise failures.pop(0)

    with structlog.testing.capture_logs() as lines:
        async with repeating(0.001, call, SparingLog("test"), "it failed", of="this"):
            await until(lambda: calls > 4)
        ended_at = calls
        await asyncio.sleep(0.01)
    assert calls == ended_at
    assert [(one["event"], one["of"]) for one in lines] == [("it failed", "this")]
