"""Whoever has the lease delivers; whoever had it writes nothing; on both databases."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from app.database.engine import Database
from app.outbound.secret import SecretCipher
from app.subscriptions.models import Attempt, Delivery
from sync_client import verify
from tests.deliveries.replica import SECRET, encrypted, running
from tests.deliveries.support import add_subscription, check_lanes, list_deliveries
from tests.events.support import add_events
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.receiver import Received, Receiver, Reply, answer, hang, receiving
from tests.support.waiting import until

FILE = uuid4()


async def list_attempts(database: Database) -> list[tuple[int, str]]:
    async with database.read() as session:
        return [(one.number, one.outcome) for one in await session.scalars(select(Attempt).order_by(Attempt.id))]


class Holding(Receiver):
    """Holds the first request until it is told to answer, and answers the others at once."""

    def __init__(self) -> None:
        super().__init__(self._choose)
        self.go_on = asyncio.Event()

    def _choose(self, _request: Received) -> Reply:
        return answer() if len(self.received) > 1 else self._wait

    async def _wait(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.go_on.wait()
        await answer(500)(reader, writer)


async def test_a_lease_that_ended_is_taken_over_and_its_late_result_is_not_written(database: Database) -> None:
    async with (
        receiving(Holding()) as receiver,
        running(database, lease=timedelta(hours=1)) as stalled,
        running(database) as other,
    ):
        assert isinstance(receiver, Holding)
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"), (FILE, "update"))
        await stalled.sweep()
        assert await stalled.dispatcher.run_once() == 1
        await until(lambda: len(receiver.received) == 1)
        assert await other.dispatcher.run_once() == 0
        async with database.transaction() as session:
            await session.execute(
                update(Delivery).where(Delivery.due_at.is_not(None)).values(due_at=Delivery.created_at)
            )
        await other.dispatch_until(lambda: len(receiver.received) == 3)
        await other.settle()
        receiver.go_on.set()
        await stalled.settle()
        assert receiver.positions == [1, 1, 2]
        assert stalled.metrics.late._value.get() == 1
        assert await list_attempts(database) == [(1, "delivered"), (1, "delivered")]
        deliveries = await list_deliveries(database, subscription_id)
        assert [(one.status, one.fence, one.failures) for one in deliveries] == [
            ("delivered", 2, 0),
            ("delivered", 1, 0),
        ]


async def test_a_lease_that_ended_before_it_was_used_sends_nothing(database: Database) -> None:
    async with receiving() as receiver, running(database, lease=timedelta(0)) as stalled:
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"))
        await stalled.sweep()
        assert await stalled.dispatcher.run_once() == 1
        await stalled.settle()
        async with running(database) as other:
            await other.dispatch_until(lambda: len(receiver.received) == 1)
            await other.settle()
        assert len(receiver.received) == 1


@pytest.mark.load
@on_postgresql
async def test_a_heartbeat_keeps_the_lease_for_as_long_as_it_takes(database: Database) -> None:
    short = timedelta(seconds=2)
    async with (
        receiving(Receiver(delay_seconds=4)) as receiver,
        running(database, lease=short) as slow,
        running(database) as other,
    ):
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"))
        await slow.sweep()
        assert await slow.dispatcher.run_once() == 1
        ends_at = time.monotonic() + 3.5
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.2)
            await slow.dispatcher.leases.run_once()
            assert await other.dispatcher.run_once() == 0
        await slow.settle()
        assert len(receiver.received) == 1
        assert await list_attempts(database) == [(1, "delivered")]


async def test_a_heartbeat_revives_no_lease_that_has_ended(database: Database) -> None:
    async with (
        receiving(Receiver(lambda _request: hang)) as receiver,
        running(database, lease=timedelta(hours=1), stop_seconds=0) as slow,
    ):
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"))
        await slow.sweep()
        assert await slow.dispatcher.run_once() == 1
        await until(lambda: len(receiver.received) == 1)
        async with database.transaction() as session:
            past = datetime(2026, 1, 1, tzinfo=UTC)
            await session.execute(update(Delivery).values(due_at=past))
        await slow.dispatcher.leases.run_once()
        async with database.read() as session:
            assert (await session.scalars(select(Delivery.due_at))).one() == past


async def test_what_is_under_way_at_the_end_is_due_at_once_for_others(database: Database) -> None:
    async with receiving(Receiver(lambda _request: hang)) as receiver:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        async with running(database, lease=timedelta(hours=1), stop_seconds=0.1) as ending:
            await add_events(database, (FILE, "upload"))
            await ending.sweep()
            assert await ending.dispatcher.run_once() == 1
            await until(lambda: len(receiver.received) == 1)
        delivery = (await list_deliveries(database, subscription_id))[0]
        assert delivery.claimed_by is None
        assert delivery.attempts == 0
        receiver.decide = lambda _request: answer()
        async with running(database) as other:
            assert await other.dispatcher.run_once() == 1
            await other.settle()
        await check_lanes(database)


async def test_the_end_waits_for_answers_that_come(database: Database) -> None:
    async with receiving(Receiver(delay_seconds=0.3)) as receiver:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        async with running(database) as ending:
            await add_events(database, (FILE, "upload"))
            await ending.sweep()
            assert await ending.dispatcher.run_once() == 1
        assert [one.status for one in await list_deliveries(database, subscription_id)] == ["delivered"]


async def test_two_replicas_share_the_work_and_send_nothing_twice(database: Database) -> None:
    files = [uuid4() for _ in range(10)]
    async with receiving() as receiver, running(database) as first, running(database) as second:
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_subscription(database, url=receiver.url, secret=encrypted(), ordering="none")
        await add_events(database, *((files[number % 10], "update") for number in range(50)))
        await first.sweep()

        def is_done() -> bool:
            return len(receiver.received) >= 100

        await asyncio.gather(first.dispatch_until(is_done), second.dispatch_until(is_done))
        await first.settle()
        await second.settle()
        assert sorted(receiver.positions) == sorted([*range(1, 51), *range(1, 51)])
        assert len(await list_attempts(database)) == 100


async def test_secrets_that_no_key_opens_keep_the_deliveries_waiting(database: Database) -> None:
    foreign = SecretCipher(["another key that has at least 32 characters"]).encrypt("whsec_c2VjcmV0")
    async with receiving() as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=foreign)
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (FILE, "upload"))
        await replica.sweep()
        assert await replica.dispatcher.run_once() == 1
        await replica.settle()
        assert len(receiver.received) == 1
        delivery = (await list_deliveries(database, subscription_id))[0]
        assert (delivery.status, delivery.attempts, delivery.claimed_by) == ("pending", 0, None)


@on_sqlite
async def test_its_own_headers_are_sent_and_take_the_place_of_none_of_ours(database: Database) -> None:
    own = (
        '{"X-Tenant": "blue", "Webhook-Id": "forged", "Host": "forged", "content-length": "3", "User-Agent": "forged"}'
    )
    async with receiving() as receiver, running(database) as replica:
        await add_subscription(database, url=receiver.url, secret=encrypted(), headers=encrypted(own))
        ids = await add_events(database, (FILE, "upload"))
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 1)
        headers = receiver.received[0].headers
        assert headers["x-tenant"] == "blue"
        assert headers["webhook-id"] == str(ids[0])
        assert headers["user-agent"] == "sync-service/1"
        assert "forged" not in headers.values()


@on_sqlite
async def test_an_old_secret_signs_along_until_it_ends(database: Database) -> None:
    now = datetime.now(UTC)
    old = encrypted("whsec_b2xkIHNlY3JldCBvZiB0aGUgdGVzdHM=")
    async with receiving() as receiver, running(database) as replica:
        for until_then in (now + timedelta(hours=1), now - timedelta(hours=1)):
            await add_subscription(
                database, url=receiver.url, secret=encrypted(), old_secret=old, old_secret_until=until_then
            )
        await add_events(database, (FILE, "upload"))
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 2)
        signatures = sorted(len(request.headers["webhook-signature"].split(" ")) for request in receiver.received)
        assert signatures == [1, 2]


@on_sqlite
async def test_an_old_secret_that_no_key_opens_is_left_out(database: Database) -> None:
    foreign = SecretCipher(["another key that has at least 32 characters"]).encrypt("whsec_c2VjcmV0")
    soon = datetime.now(UTC) + timedelta(hours=1)
    async with receiving() as receiver, running(database) as replica:
        await add_subscription(
            database, url=receiver.url, secret=encrypted(), old_secret=foreign, old_secret_until=soon
        )
        await add_events(database, (FILE, "upload"))
        await replica.sweep()
        assert await replica.dispatcher.run_once() == 1
        await replica.settle()
        [request] = receiver.received
        verify(request.headers, request.body, SECRET)
        assert " " not in request.headers["webhook-signature"]
