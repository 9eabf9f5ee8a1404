"""Replicas are killed and suspended while they deliver: every healthy subscriber is told of everything, in order."""

import asyncio
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from app.database.engine import Database
from app.subscriptions.models import Attempt, Delivery
from tests.deliveries.replica import encrypted
from tests.deliveries.support import add_subscription, check_lanes, list_deliveries
from tests.events.support import add_events, read_head
from tests.support.chaos import chaos_seconds, is_long
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.process import ServiceProcess
from tests.support.receiver import KEY, Received, Receiver, Reply, answer, hang, receiving, reset
from tests.support.waiting import until

SECONDS = chaos_seconds(2)
MIN_KILLS = 1 + int(SECONDS / 20)  # also where a start takes so long that these take more than SECONDS

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + 600)]

LEASE_SECONDS = 2
REPLICAS, PAUSE_SECONDS = (3, 0.2) if is_long() else (2, 0.5)
FILES = [uuid4() for _ in range(20)]
ENVIRONMENT = {
    "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
    "WEBHOOK_PORTS": "0",
    "WEBHOOK_ENCRYPTION_KEYS": KEY,
    "WEBHOOK_LEASE": str(LEASE_SECONDS),
    "WEBHOOK_POLL_INTERVAL": "0.2",
    "WEBHOOK_RETRY_INTERVAL": "0.2",
    "WEBHOOK_TIMEOUT": "3",
    "SYNC_EVENT_PROCESS_INTERVAL": "0.1",
}

Start = Callable[..., ServiceProcess]


def sometimes(reply: Reply) -> Callable[[Received], Reply]:
    """A receiver that answers so one time in ten."""
    return lambda _request: reply if random.random() < 0.1 else answer()  # noqa: S311 - no secret


def always(reply: Reply) -> Callable[[Received], Reply]:
    """A receiver that never answers otherwise."""
    return lambda _request: reply


def healthy() -> list[Receiver]:
    """Receivers that take everything, one of them slowly, and one that seldom fails."""
    return [Receiver(), Receiver(delay_seconds=0.05), Receiver(sometimes(answer(500))), Receiver(sometimes(reset))]


def sick() -> list[Receiver]:
    """Receivers that take nothing."""
    return [Receiver(always(hang)), Receiver(always(answer(429, retry_after="1"))), Receiver(always(answer(503)))]


async def write(database: Database, ended: asyncio.Event) -> None:
    """Record five events of a few files again and again."""
    while not ended.is_set():
        await add_events(database, *((random.choice(FILES), "update") for _ in range(5)))  # noqa: S311
        await asyncio.sleep(PAUSE_SECONDS)


async def kill_and_suspend(
    replicas: list[ServiceProcess], start: Callable[[], ServiceProcess], ended: asyncio.Event
) -> int:
    """Every few seconds kill and replace a replica, or let one sleep through its leases; return the number of kills."""
    ends_at, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < ends_at or number < 2 * MIN_KILLS:
        await asyncio.sleep(1)
        place = number % len(replicas)
        if number % 2 == 0:
            replicas[place].kill()
            replicas[place] = await asyncio.to_thread(start)
        else:
            replicas[place].send(signal.SIGSTOP)
            await asyncio.sleep(LEASE_SECONDS * 1.5)
            replicas[place].send(signal.SIGCONT)
        number += 1
    ended.set()
    return (number + 1) // 2


async def subscribe(database: Database, receivers: Sequence[Receiver]) -> list[UUID]:
    """A subscription for each of the receivers."""
    return [await add_subscription(database, url=receiver.url, secret=encrypted()) for receiver in receivers]


def assert_first_deliveries_in_order(receiver: Receiver) -> None:
    """Whatever came again, what came first of each file came in the ledger's order."""
    newest: defaultdict[str, int] = defaultdict(int)
    seen: set[int] = set()
    for request in receiver.received:
        if request.position not in seen:
            seen.add(request.position)
            assert request.position > newest[request.file_id]
            newest[request.file_id] = request.position


async def assert_settled_once(database: Database, subscription_id: UUID) -> None:
    """One result was written for each delivery that was delivered, by whoever had the last lease."""
    async with database.read() as session:
        counts = await session.execute(
            select(Attempt.delivery_id, func.count())
            .join(Delivery, Delivery.id == Attempt.delivery_id)
            .where(Delivery.subscription_id == subscription_id, Attempt.outcome == "delivered")
            .group_by(Attempt.delivery_id)
        )
        assert {count for _, count in counts} == {1}


async def run(database: Database, replicas: list[ServiceProcess], start: Callable[[], ServiceProcess]) -> None:
    """Write, kill, and look at what came."""
    good, bad = healthy(), sick()
    async with receiving(*good, *bad):
        subscriptions = await subscribe(database, good)
        await subscribe(database, bad)
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(write(database, ended))
            killing = group.create_task(kill_and_suspend(replicas, start, ended))
        expected = set(range(1, await read_head(database) + 1))
        await until(lambda: all(set(receiver.positions) == expected for receiver in good), 120)
        for receiver, subscription_id in zip(good, subscriptions, strict=True):
            assert_first_deliveries_in_order(receiver)
            await until(partial(is_delivered, database, subscription_id))
            await assert_settled_once(database, subscription_id)
        await check_lanes(database)
        repeated = [len(receiver.positions) - len(expected) for receiver in good]
        kills = killing.result()
        print(f"{len(expected)} events, each to {len(good)} receivers; kills: {kills}; sent again: {repeated}")
    assert len(expected) > 5 * SECONDS
    assert kills >= MIN_KILLS


async def is_delivered(database: Database, subscription_id: UUID) -> bool:
    return all(one.status == "delivered" for one in await list_deliveries(database, subscription_id))


@on_postgresql
async def test_replicas_that_are_killed_and_suspended(
    start_replicas: Callable[..., list[ServiceProcess]], start_service: Start, database: Database
) -> None:
    replicas = start_replicas(REPLICAS, **ENVIRONMENT)
    await run(database, replicas, lambda: start_service(**ENVIRONMENT))


@on_sqlite
async def test_one_process_that_is_killed_and_suspended(start_service: Start, database: Database) -> None:
    replicas = [start_service(**ENVIRONMENT)]
    await run(database, replicas, lambda: start_service(**ENVIRONMENT))
