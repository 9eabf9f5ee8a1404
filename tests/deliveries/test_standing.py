"""What says nothing of a subscription, or of a delivery, is not held against it; on both databases."""

import asyncio
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text, update
from structlog.testing import capture_logs

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.deliveries.metrics import WebhookMetrics
from app.subscriptions.models import Subscription
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.replica import encrypted, running
from tests.deliveries.support import add_subscription, get_subscription, list_deliveries
from tests.events.support import add_events
from tests.support.marks import on_sqlite
from tests.support.receiver import Receiver, answer, receiving
from tests.support.waiting import until


class Late(Receiver):
    """Answers once it is told to."""

    def __init__(self, status: int, *, retry_after: str = "") -> None:
        super().__init__(lambda _request: self._answer)
        self.go_on = asyncio.Event()
        self._late = answer(status, retry_after=retry_after)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.go_on.wait()
        await self._late(reader, writer)


@pytest.mark.parametrize(("status", "retry_after"), [(410, ""), (429, "3600")], ids=["gone", "slow down"])
async def test_an_answer_of_an_address_that_was_left_says_nothing(
    database: Database, status: int, retry_after: str
) -> None:
    async with receiving(Late(status, retry_after=retry_after)) as old, running(database) as replica:
        assert isinstance(old, Late)
        subscription_id = await add_subscription(database, url=old.url, secret=encrypted())
        await add_events(database, (uuid4(), "upload"))
        await replica.sweep()
        assert await replica.dispatcher.run_once() == 1
        await until(lambda: len(old.received) == 1)
        async with database.transaction() as session:
            await session.execute(update(Subscription).values(url="http://127.0.0.1:1/new"))
        old.go_on.set()
        await replica.settle()
        stands = await get_subscription(database, subscription_id)
        assert (stands.status, stands.failing_since, stands.slow_until) == ("active", None, None)


@pytest.mark.parametrize("error", [DatabaseUnavailable(), ValueError("a bug")], ids=["away", "bug"])
async def test_what_is_written_is_not_written_again_when_its_subscription_can_not_be_disabled(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    mark_disabled = SubscriptionRepository.mark_disabled
    errors = [error]

    async def fail_once(self: SubscriptionRepository, subscription: Subscription, reason: str) -> None:
        if errors:
            raise errors.pop()
        await mark_disabled(self, subscription, reason)

    monkeypatch.setattr(SubscriptionRepository, "mark_disabled", fail_once)
    registry = CollectorRegistry()
    async with (
        receiving(Receiver(lambda _request: answer(410))) as receiver,
        running(database, metrics=WebhookMetrics(registry)) as replica,
    ):
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (uuid4(), "upload"))
        await replica.sweep()
        assert await replica.dispatcher.run_once() == 1
        await replica.settle()
        assert errors == []
        assert registry.get_sample_value("sync_webhook_results_late_total") == 0
        assert (await get_subscription(database, subscription_id)).status == "active"
        assert await replica.dispatcher.run_once() == 1
        await replica.settle()
        assert (await get_subscription(database, subscription_id)).status == "disabled"


@on_sqlite
async def test_the_log_says_why_there_was_no_answer(database: Database) -> None:
    receiver = Receiver()  # which does not listen
    async with running(database) as replica:
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (uuid4(), "upload"))
        await replica.sweep()
        with capture_logs() as lines:
            assert await replica.dispatcher.run_once() == 1
            await replica.settle()
        [line] = [line for line in lines if line["event"] == "attempt failed"]
        assert (line["outcome"], line["status"], line["reason"]) == ("unreachable", None, "the connection was refused")


async def test_days_with_nothing_to_send_are_no_days_of_failures(database: Database) -> None:
    async with receiving(Receiver(lambda _request: answer(500))) as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (uuid4(), "upload"))
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 2)
        await replica.settle()
        assert (await get_subscription(database, subscription_id)).failing_since is not None
        await replica.dispatch_until(lambda: len(receiver.received) == 3)
        await replica.settle()
        assert [one.status for one in await list_deliveries(database, subscription_id)] == ["dead"]
        assert (await get_subscription(database, subscription_id)).failing_since is None


async def test_an_event_that_always_slows_its_subscription_dies_too(database: Database) -> None:
    bad, good = uuid4(), uuid4()

    async with (
        receiving(Receiver(lambda request: answer(504 if request.file_id == str(bad) else 200))) as receiver,
        running(database) as replica,
    ):
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (bad, "upload"), (good, "upload"), (bad, "update"), (good, "update"))
        await replica.sweep()

        async def is_settled() -> bool:
            async with database.transaction() as session:
                await session.execute(update(Subscription).values(slow_until=None))
            return all(one.status != "pending" for one in await list_deliveries(database, subscription_id))

        await replica.dispatch_until(is_settled)
        assert [one.status for one in await list_deliveries(database, subscription_id)] == ["dead", "delivered"] * 2


@on_sqlite
async def test_an_event_that_can_not_be_written_as_json_fails_and_holds_nothing_up(database: Database) -> None:
    async with receiving(Receiver()) as receiver, running(database) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted(), max_concurrency=1)
        await add_events(database, (uuid4(), "upload"), (uuid4(), "upload"))
        async with database.transaction() as session:
            await session.execute(text("""UPDATE sync_events SET metadata = '{"a": "\\ud800"}' WHERE position = 1"""))
        await replica.sweep()
        await replica.dispatch_until(lambda: receiver.positions == [2])
        await replica.settle()
        assert await list_attempted(database) == {1: "failed", 2: "delivered"}
        assert (await list_deliveries(database, subscription_id))[1].status == "delivered"


async def list_attempted(database: Database) -> dict[int, str]:
    """The first outcome of each position."""
    attempts = "SELECT position, outcome FROM delivery_attempts JOIN deliveries ON deliveries.id = delivery_id"
    query = text(f"{attempts} WHERE number = 1")
    async with database.read() as session:
        return {row.position: row.outcome for row in await session.execute(query)}
