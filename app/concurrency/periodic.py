"""Repeats a pass in the background until it is stopped."""

import asyncio
from collections.abc import Awaitable, Callable
from random import random

import structlog

from app.concurrency.shutdown import wait_for_event, wait_or_cancel
from app.errors import Unavailable, describe
from app.log.sparing import SparingLog

FIRST_SECONDS = 10.0  # until the first pass, at most

log = structlog.get_logger(__name__)


class PeriodicTask:
    """Runs `run` again and again, `interval_seconds` after each end. A pass that fails is repeated.

    The first pass begins after a random part of the interval, 10 seconds at most, so that replicas that start together
    do not work in step; with `at_once`, immediately.

    The first failure is logged, and while passes go on failing one a minute, with their number.

    Setting `wake` starts the next pass immediately, or as soon as the current one has ended.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[asyncio.Event], Awaitable[object]],
        interval_seconds: float,
        wake: asyncio.Event | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self._name = name
        self._run = run
        self._interval_seconds = interval_seconds
        self._wake = wake or asyncio.Event()
        self._at_once = at_once
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = SparingLog(__name__)

    def start(self) -> None:
        self._task = asyncio.create_task(self._repeat(), name=self._name)

    async def stop(self, timeout_seconds: float) -> None:
        """Let the running pass see the stop event and end; cancel it after `timeout_seconds`."""
        self._stopping.set()
        self._wake.set()
        if self._task is not None and not await wait_or_cancel(self._task, timeout_seconds):
            log.error("pass cancelled at shutdown", task=self._name)

    async def _repeat(self) -> None:
        if not self._at_once:
            await wait_for_event(self._wake, random() * min(self._interval_seconds, FIRST_SECONDS))  # noqa: S311 - no secret
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                await self._run(self._stopping)
            except Unavailable as error:
                self._log.warning("pass postponed", task=self._name, reason=describe(error.__cause__ or error))
            except Exception as error:  # noqa: BLE001 - the next pass may succeed
                self._log.error("pass failed", task=self._name, exc_info=error)
            await wait_for_event(self._wake, self._interval_seconds)
