"""What was answered while the database was away is written when it is back, and is not sent again."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import delete
from structlog.testing import capture_logs

from app.database.engine import Database
from app.subscriptions.models import Subscription
from tests.conftest import MakeSettings
from tests.deliveries.replica import encrypted, running
from tests.deliveries.support import add_subscription, list_deliveries
from tests.events.support import add_events
from tests.support.marks import on_sqlite
from tests.support.postgres import PostgresServer
from tests.support.receiver import Received, Receiver, Reply, answer, receiving
from tests.support.waiting import until


@on_sqlite  # of the settings; the test names its own
async def test_a_result_outlives_a_restart_of_the_database(
    frail_postgres: PostgresServer, make_settings: MakeSettings
) -> None:
    go_on = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer()(reader, writer)

    def decide(_request: Received) -> Reply:
        return wait

    database = Database(make_settings(database_url=frail_postgres.url("postgres"), database_connect_timeout=1))
    async with receiving(Receiver(decide)) as receiver, running(database, lease=timedelta(minutes=5)) as replica:
        subscription_id = await add_subscription(database, url=receiver.url, secret=encrypted())
        await add_events(database, (uuid4(), "upload"))
        await replica.sweep()
        assert await replica.dispatcher.run_once() == 1
        await until(lambda: len(receiver.received) == 1)
        await asyncio.to_thread(frail_postgres.stop)
        with capture_logs() as lines:
            go_on.set()
            await until(lambda: any(line["event"] == "settlement postponed" for line in lines))
        assert len(replica.dispatcher.leases) == 1
        await asyncio.to_thread(frail_postgres.start)
        await replica.settle()
        assert [(one.status, one.attempts) for one in await list_deliveries(database, subscription_id)] == [
            ("delivered", 1)
        ]
        assert len(receiver.received) == 1
        async with database.transaction() as session:
            await session.execute(delete(Subscription))
    await database.close()
