"""Subscriptions are sent no more than they take: limits, slowing down, and the end of it; on both databases."""

import asyncio
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text, update

from app.database.engine import Database
from app.database.types import database_now
from app.deliveries.policy import MAX_SLOW_DELAY
from app.subscriptions.models import Subscription
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.replica import Replica, encrypted, running
from tests.deliveries.support import add_subscription, get_subscription, list_deliveries, pending_positions
from tests.events.support import add_events
from tests.support.receiver import Received, Receiver, Reply, answer, hang, receiving
from tests.support.waiting import until


async def add_uploads(database: Database, number: int) -> None:
    """So many events, each of a file of its own."""
    await add_events(database, *((uuid4(), "upload") for _ in range(number)))


async def end_slowness(database: Database) -> None:
    """As if the time had passed for which nothing is sent."""
    async with database.transaction() as session:
        await session.execute(text("UPDATE subscriptions SET slow_until = created_at WHERE slow_until IS NOT NULL"))


async def test_no_more_at_once_than_the_subscription_takes_whoever_sends(database: Database) -> None:
    receiver = Receiver(delay_seconds=0.02)
    async with receiving(receiver), running(database) as first, running(database) as second:
        await add_subscription(database, url=receiver.url, secret=encrypted(), max_concurrency=3)
        await add_uploads(database, 20)
        await first.sweep()

        def is_done() -> bool:
            return len(receiver.received) == 20

        await asyncio.gather(first.dispatch_until(is_done), second.dispatch_until(is_done))
        assert sorted(receiver.positions) == list(range(1, 21))
        assert receiver.most_at_once == 3


async def test_no_faster_than_the_subscription_takes(database: Database) -> None:
    async with receiving() as receiver, running(database) as replica:
        await add_subscription(database, url=receiver.url, secret=encrypted(), rate_limit_per_second=20)
        await add_uploads(database, 30)
        await replica.sweep()
        started = time.monotonic()
        await replica.dispatch_until(lambda: len(receiver.received) == 30)
        times = [request.at - started for request in receiver.received]
        assert times[-1] >= (30 - 20) / 20 * 0.9
        assert times[-1] < 10


@pytest.mark.parametrize(
    "held_by", [{"slow_count": 1}, {"max_concurrency": 1}], ids=["one ahead of the others", "concurrency"]
)
async def test_while_it_is_no_rate_that_holds_it_back_nobody_looks_again(
    database: Database, held_by: dict[str, int]
) -> None:
    async with (
        receiving(Receiver(lambda _request: hang)) as receiver,
        running(database, stop_seconds=0) as first,
        running(database, stop_seconds=0) as second,
    ):
        await add_subscription(database, url=receiver.url, secret=encrypted(), rate_limit_per_second=1000, **held_by)
        await add_uploads(database, 3)
        await first.sweep()
        assert await first.dispatcher.run_once() == 1
        await until(lambda: len(receiver.received) == 1)
        for replica in (first, second):
            replica.wake.clear()
            assert await replica.dispatcher.run_once() == 0
        looks_again = [asyncio.create_task(replica.wake.wait()) for replica in (first, second)]
        done, waiting = await asyncio.wait(looks_again, timeout=0.3)
        for task in waiting:
            task.cancel()
        assert not done


async def test_a_receiver_that_hangs_keeps_no_other_from_being_sent_to(database: Database) -> None:
    hanging = Receiver(lambda _request: hang)
    async with receiving() as receiver, receiving(hanging), running(database, concurrency=4, stop_seconds=0) as replica:
        await add_subscription(database, url=hanging.url, secret=encrypted())
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_uploads(database, 10)
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 10)
        assert 1 <= hanging.at_once <= 4


async def test_one_that_has_too_much_to_do_gets_nothing_and_then_one_delivery_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.deliveries.policy.SLOW_BASE", MAX_SLOW_DELAY)  # until the test ends it
    replies: list[Reply] = [answer(429)]
    receiver = Receiver(lambda _request: replies[-1])
    async with receiving(receiver), running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted(), max_concurrency=5)
        await add_uploads(database, 30)
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 5)
        await replica.settle()
        assert await replica.dispatcher.run_once() == 0
        slowed = await get_subscription(database, subscription_id)
        assert slowed.slow_count == 1
        assert slowed.failing_since is not None

        await end_slowness(database)
        assert await replica.dispatcher.run_once() == 1
        assert await replica.dispatcher.run_once() == 0
        await replica.settle()
        assert (await get_subscription(database, subscription_id)).slow_count == 2

        replies.append(answer(200))
        receiver.most_at_once = 0
        await end_slowness(database)
        await replica.dispatch_until(lambda: len(receiver.received) == 5 + 1 + 30)
        await replica.settle()
        well = await get_subscription(database, subscription_id)
        assert (well.slow_count, well.slow_until, well.failing_since) == (0, None, None)
        assert receiver.most_at_once <= 5
        deliveries = await list_deliveries(database, subscription_id)
        assert {one.status for one in deliveries} == {"delivered"}
        assert sum(one.failures for one in deliveries) == 5 + 1


async def test_it_waits_for_as_long_as_the_receiver_asks(database: Database) -> None:
    async with (
        receiving(Receiver(lambda _request: answer(429, retry_after="600"))) as receiver,
        running(database) as one,
    ):
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_uploads(database, 1)
        await one.sweep()
        await one.dispatch_until(lambda: len(receiver.received) == 1)
        await one.settle()
        slowed = await get_subscription(database, subscription_id)
        async with database.read() as session:
            now = await session.scalar(database_now().select())
        assert slowed.slow_until is not None
        assert now is not None
        assert timedelta(seconds=590) < slowed.slow_until - now <= timedelta(seconds=600)


async def test_a_receiver_that_returns_after_an_outage_is_not_flooded(database: Database) -> None:
    receiver = Receiver(delay_seconds=0.01)  # which does not listen yet
    async with running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted(), max_concurrency=4)
        await add_uploads(database, 24)
        await replica.sweep()
        for _ in range(6):
            await replica.dispatcher.run_once()
            await replica.settle()
            await end_slowness(database)
        assert (await get_subscription(database, subscription_id)).slow_count >= 5
        async with receiving(receiver):
            assert await replica.dispatcher.run_once() == 1
            await replica.settle()
            await replica.dispatch_until(lambda: len(receiver.received) == 24)
            await replica.settle()
        assert sorted(receiver.positions) == list(range(1, 25))
        assert receiver.most_at_once <= 4


async def test_one_that_is_gone_is_disabled_and_keeps_what_it_had_not(database: Database) -> None:
    replies: list[Reply] = [answer(410)]
    async with receiving(Receiver(lambda _request: replies[-1])) as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_uploads(database, 1)
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 1)
        await until(lambda: is_disabled(database, subscription_id))
        await replica.settle()
        disabled = await get_subscription(database, subscription_id)
        assert disabled.status_reason == "The receiver responded with 410 Gone."
        assert not disabled.live
        await add_uploads(database, 1)
        await replica.sweep()
        assert await replica.dispatcher.run_once() == 0
        assert await pending_positions(database, subscription_id) == [1]
        await activate(database, subscription_id)
        replies.append(answer(200))
        await replica.dispatch_until(lambda: len(receiver.received) == 2)


async def test_one_that_only_fails_for_days_is_disabled(database: Database) -> None:
    async with receiving(Receiver(lambda _request: answer(500))) as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_uploads(database, 1)
        await replica.sweep()
        await send_once(replica, receiver)
        assert not await is_disabled(database, subscription_id)
        async with database.transaction() as session:
            first = (await get_subscription(database, subscription_id)).failing_since
            assert first is not None
            await session.execute(update(Subscription).values(failing_since=first - timedelta(days=5)))
        await send_once(replica, receiver)
        await until(lambda: is_disabled(database, subscription_id))
        reason = (await get_subscription(database, subscription_id)).status_reason
        assert reason == "Every attempt of the last 5 days has failed."


async def test_what_waits_for_its_next_attempt_is_due_once_it_is_active_again(database: Database) -> None:
    def decide(_request: Received) -> Reply:
        return answer(503, retry_after="3600")

    async with receiving(Receiver(decide)) as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_uploads(database, 1)
        await replica.sweep()
        await send_once(replica, receiver)
        assert await replica.dispatcher.run_once() == 0
        async with database.transaction() as session:
            repository = SubscriptionRepository(session)
            await repository.mark_paused(await repository.get_for_change(subscription_id))
        await activate(database, subscription_id)
        await send_once(replica, receiver)


async def send_once(replica: Replica, receiver: Receiver) -> None:
    """Until one more request has come and is settled."""
    wanted = len(receiver.received) + 1
    await replica.dispatch_until(lambda: len(receiver.received) == wanted)
    await replica.settle()


async def is_disabled(database: Database, subscription_id: UUID) -> bool:
    return (await get_subscription(database, subscription_id)).status == "disabled"


async def activate(database: Database, subscription_id: UUID) -> None:
    async with database.transaction() as session:
        repository = SubscriptionRepository(session)
        await repository.mark_active(await repository.get_for_change(subscription_id))
