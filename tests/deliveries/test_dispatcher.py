"""What is due reaches real receivers, in order per file, whatever they answer; on both databases."""

from collections import defaultdict
from uuid import uuid4

from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, update

from app.concurrency.task import PeriodicTask
from app.database.engine import Database
from app.deliveries.catch_up import CatchUp
from app.deliveries.metrics import WebhookMetrics
from app.deliveries.repository import DeliveryRepository
from app.subscriptions.models import Attempt, Delivery
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.replica import PATIENT, SECRET, encrypted, running
from tests.deliveries.support import add_subscription, list_deliveries
from tests.events.support import add_events
from tests.support.marks import on_sqlite
from tests.support.receiver import Received, Receiver, Reply, answer, drip, hang, receiving, reset
from tests.support.waiting import until

FILE, OTHER = uuid4(), uuid4()


async def count_pending(database: Database) -> int:
    async with database.read() as session:
        return (await session.scalars(select(func.count()).where(Delivery.status == "pending"))).one()


async def test_an_event_reaches_its_subscriber(database: Database) -> None:
    async with receiving() as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        ids = await add_events(database, (FILE, "upload"))
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 1)
        await replica.settle()
        request = receiver.received[0]
        assert request.event["id"] == request.headers["webhook-id"] == str(ids[0])
        assert request.headers["user-agent"] == "sync-service/1"
        delivery = (await list_deliveries(database, subscription_id))[0]
        assert (delivery.status, delivery.attempts, delivery.failures) == ("delivered", 1, 0)
        async with database.read() as session:
            attempt = (await session.scalars(select(Attempt))).one()
        assert (attempt.delivery_id, attempt.number, attempt.outcome) == (delivery.id, 1, "delivered")
        assert attempt.status_code == 200


async def test_many_events_of_a_few_files_arrive_in_the_order_of_each_file(database: Database) -> None:
    files = [uuid4() for _ in range(7)]
    async with receiving() as receiver, running(database) as replica:
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, *((files[number % 7], "update") for number in range(56)))
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 56)
        await replica.settle()
        by_file = defaultdict(list)
        for request in receiver.received:
            by_file[request.file_id].append(request.position)
        assert all(positions == sorted(positions) for positions in by_file.values())
        assert sorted(receiver.positions) == list(range(1, 57))
        assert receiver.most_at_once > 1
        assert await count_pending(database) == 0


async def test_the_failure_of_one_file_delays_no_other(database: Database) -> None:
    def decide(request: Received) -> Reply:
        return answer(500 if request.file_id == str(FILE) else 200)

    async with receiving(Receiver(decide)) as receiver, running(database, policy=PATIENT) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"), (FILE, "update"), *((uuid4(), "upload") for _ in range(15)))
        await replica.sweep()
        await replica.dispatch_until(lambda: {*range(3, 18)} <= set(receiver.positions))
        assert 2 not in receiver.positions
        assert SECRET not in str(await list_deliveries(database, subscription_id))


async def test_a_dead_delivery_lets_its_file_go_on(database: Database) -> None:
    def decide(request: Received) -> Reply:
        return answer(400 if request.position == 1 else 200)

    async with receiving(Receiver(decide)) as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"), (FILE, "update"))
        await replica.sweep()
        await replica.dispatch_until(lambda: 2 in receiver.positions)
        await replica.settle()
        assert receiver.positions == [1, 1, 1, 2]
        deliveries = await list_deliveries(database, subscription_id)
        assert [(one.status, one.attempts, one.failures) for one in deliveries] == [("dead", 3, 3), ("delivered", 1, 0)]


FAILING: dict[str, Reply] = {
    "301": answer(301, location="/elsewhere"),
    "404": answer(404),
    "500": answer(500, bytes(100_000)),
    "reset": reset,
}


@on_sqlite
async def test_nothing_but_2xx_is_a_success(database: Database) -> None:
    replies = {name: [answer(204), reply, reply] for name, reply in FAILING.items()}
    receivers = {name: Receiver(lambda _request, name=name: replies[name].pop()) for name in FAILING}  # type: ignore[misc]  # mypy knows no bound lambdas
    async with receiving(*receivers.values()), running(database) as replica:
        subscriptions = {
            name: await add_subscription(database, url=receiver.url, secret=encrypted())
            for name, receiver in receivers.items()
        }
        await add_events(database, (FILE, "upload"))
        await replica.sweep()
        await replica.dispatch_until(lambda: all(len(one.received) == 3 for one in receivers.values()))
        await replica.settle()
        for name, subscription_id in subscriptions.items():
            [delivery] = await list_deliveries(database, subscription_id)
            assert (delivery.status, delivery.attempts, delivery.failures) == ("delivered", 3, 2), name
            async with database.read() as session:
                query = select(Attempt).where(Attempt.delivery_id == delivery.id).order_by(Attempt.number)
                attempts = (await session.scalars(query)).all()
            assert [(one.number, one.outcome) for one in attempts] == [
                (1, "failed"),
                (2, "failed"),
                (3, "delivered"),
            ], name
            assert len({request.headers["webhook-id"] for request in receivers[name].received}) == 1, name


@on_sqlite
async def test_a_receiver_that_never_answers_to_the_end_times_out(database: Database) -> None:
    receivers = [Receiver(lambda _request: hang), Receiver(lambda _request: drip)]
    async with receiving(*receivers), running(database, timeout_seconds=0.5) as replica:
        subscriptions = [await add_subscription(database, url=one.url, secret=encrypted()) for one in receivers]
        await add_events(database, (FILE, "upload"))
        await replica.sweep()
        assert await replica.dispatcher.run_once() == 2
        await replica.settle()
        for subscription_id in subscriptions:
            assert [one.failures for one in await list_deliveries(database, subscription_id)] == [1]
        async with database.read() as session:
            assert (await session.scalars(select(Attempt.outcome))).all() == ["timeout"] * 2


async def test_a_dead_delivery_may_be_tried_again(database: Database) -> None:
    replies = [answer(200), *[answer(500)] * 3]
    async with receiving(Receiver(lambda _request: replies.pop())) as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"))
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 3)
        await replica.settle()
        async with database.transaction() as session:
            assert await DeliveryRepository(session).mark_dead_pending(subscription_id) == 1
        await replica.dispatch_until(lambda: len(receiver.received) == 4)
        await replica.settle()
        delivery = (await list_deliveries(database, subscription_id))[0]
        assert (delivery.status, delivery.attempts) == ("delivered", 1)


async def test_the_next_of_a_file_does_not_wait_for_the_next_look(database: Database) -> None:
    async with receiving() as receiver, running(database) as replica:
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, *((FILE, "update") for _ in range(12)))
        await replica.sweep()
        passes = PeriodicTask("test", replica.dispatcher.run_once, 3600, replica.wake, at_once=True)
        passes.start()
        await until(lambda: len(receiver.received) == 12)
        await passes.stop(5)
        assert receiver.positions == list(range(1, 13))


async def test_the_delay_is_that_of_first_deliveries(database: Database) -> None:
    registry = CollectorRegistry()
    async with (
        receiving() as receiver,
        running(database, metrics=WebhookMetrics(registry)) as replica,
    ):
        await add_events(database, (FILE, "upload"))
        await replica.sweep()
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (uuid4(), "upload"), (uuid4(), "upload"))
        await replica.sweep()
        async with database.transaction() as session:
            await session.execute(update(Delivery).where(Delivery.position == 2).values(fence=9))  # of lost leases
        await replica.dispatch_until(lambda: len(receiver.received) == 2)
        await replica.settle()
        assert registry.get_sample_value("sync_webhook_delay_seconds_count") == 2
        async with database.transaction() as session:
            repository = SubscriptionRepository(session)
            await repository.add_replay(await repository.get_for_change(subscription_id), after=0)
        await CatchUp(database).run_once()
        await replica.dispatch_until(lambda: len(receiver.received) == 5)
        await replica.settle()
        assert sorted(receiver.positions) == [1, 2, 2, 3, 3]
        assert registry.get_sample_value("sync_webhook_delay_seconds_count") == 2
