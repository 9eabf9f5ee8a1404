"""Replicas are killed under load while followers of every kind reconnect: each sees 1…N once, in order."""

import asyncio
import random
import time
from collections.abc import Callable

import httpx
import pytest

from app.database.engine import Database
from tests.changes.follower import Follower
from tests.events.support import read_head
from tests.support.chaos import chaos_seconds, is_long
from tests.support.load import Load, run_load
from tests.support.marks import on_postgresql
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

SECONDS = chaos_seconds(0)
REPLICAS = 3
MIN_KILLS = REPLICAS if is_long() else 2
MIN_EVENTS = 100 if is_long() else 30  # between two kills
PAUSE_SECONDS = 0 if is_long() else 0.05  # of each client between two events
STREAMS, PAGES = (50, 20) if is_long() else (14, 6)  # followers


@on_postgresql
@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.long
async def test_every_follower_sees_every_event_once_in_order(
    start_replicas: Callable[..., list[ServiceProcess]],
    start_service: Callable[..., ServiceProcess],
    database: Database,
    outside: httpx.AsyncClient,
    tokens: TokenFactory,
) -> None:
    replicas = start_replicas(REPLICAS, CHANGES_KEEP_ALIVE="1")
    heads: list[int] = []  # the last position, once writing has ended

    def choose() -> str:
        return random.choice(replicas).url  # noqa: S311 - no secret

    followers = [Follower(outside, choose) for _ in range(STREAMS + PAGES)]

    def is_done(follower: Follower) -> Callable[[], bool]:
        return lambda: bool(heads) and len(follower.positions) >= heads[0]

    async with asyncio.TaskGroup() as group:
        for number, follower in enumerate(followers):
            done = is_done(follower)
            if number < STREAMS:
                group.create_task(follower.follow_stream(done))
            else:
                group.create_task(follower.follow_pages(done, wait=(number % 2) * 2))
        await write_and_kill(replicas, start_service, database, tokens)
        heads.append(await read_head(database))
        group.create_task(_deadline(followers, heads[0]))
    for follower in followers:
        assert follower.positions == list(range(1, heads[0] + 1))
    assert sum(follower.connections for follower in followers) > 2 * len(followers)


async def write_and_kill(
    replicas: list[ServiceProcess],
    start_service: Callable[..., ServiceProcess],
    database: Database,
    tokens: TokenFactory,
) -> None:
    """Post to every replica, and replace one of them after every so many events."""

    async def write_more() -> None:
        before = await read_head(database)

        async def is_enough() -> bool:
            await asyncio.sleep(0.05)
            return await read_head(database) > before + MIN_EVENTS

        await until(is_enough)

    stops = [asyncio.Event() for _ in replicas]
    async with asyncio.TaskGroup() as group:

        def post(place: int) -> None:
            url, stop = replicas[place].url, stops[place]
            load = run_load(Load(), url, tokens.token(), clients=2, until=stop, pause_seconds=PAUSE_SECONDS)
            group.create_task(load)

        for place in range(REPLICAS):
            post(place)
        kills, ends_at = 0, time.monotonic() + SECONDS
        while kills < MIN_KILLS or time.monotonic() < ends_at:
            await write_more()  # and the followers get somewhere
            place = kills % REPLICAS
            kills += 1
            replicas[place].kill()
            stops[place].set()
            replicas[place] = await asyncio.to_thread(start_service, CHANGES_KEEP_ALIVE="1")
            stops[place] = asyncio.Event()
            post(place)
        await write_more()
        for stop in stops:
            stop.set()


async def _deadline(followers: list[Follower], head: int) -> None:
    await until(lambda: all(len(follower.positions) >= head for follower in followers))
