"""A delivery that fails, dies, is seen, and is redelivered once the receiver is well again; on both databases."""

from uuid import UUID, uuid4

from app.database.engine import Database
from app.main import create_app
from tests.conftest import MakeSettings
from tests.deliveries.support import list_deliveries
from tests.subscriptions.support import subscribe, view
from tests.support.application import serve_in_process
from tests.support.receiver import Received, Receiver, Reply, answer, receiving
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

FILE = uuid4()


async def test_from_the_subscription_to_the_attempt(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    """The whole way: events are sent, fail, die, are seen, and are redelivered once the receiver is well again."""
    is_well = False

    def decide(_request: Received) -> Reply:
        return answer(200 if is_well else 500, b"disk full\x1b[31m")

    settings = make_settings(
        webhook_poll_interval=0.05,
        webhook_retry_interval=0.01,
        webhook_retry_hours=0.00001,
        sync_event_process_interval=0.05,
    )
    async with serve_in_process(create_app(settings)) as client, receiving(Receiver(decide)) as receiver:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='read:sync write:sync admin:sync')}"
        body = await subscribe(client, url=receiver.url)
        path = f"/subscriptions/{body['id']}"
        posted = await client.post("/sync-events", json={"file_id": str(FILE), "event_type": "upload"})

        async def is_dead() -> bool:
            stood = await view(client, body["id"])
            return bool(stood["dead"] == 1)

        await until(is_dead, 20)
        [dead] = (await client.get(f"{path}/deliveries?status=dead")).json()
        assert dead["event_id"] == posted.json()["event_id"]
        history = (await client.get(f"/deliveries/{dead['id']}")).json()["history"]
        assert len(history) == dead["attempts"] == len(receiver.received)
        assert {(one["outcome"], one["status_code"]) for one in history} == {("failed", 500)}
        assert history[0]["response"].startswith("disk full")
        assert "\x1b" not in history[0]["response"]
        assert (await view(client, body["id"]))["failing_since"] is None  # nothing is left that could fail
        is_well = True
        assert (await client.post(f"{path}/redeliver")).json()["redelivered"] == 1

        async def is_delivered() -> bool:
            return bool((await client.get(f"{path}/deliveries?status=delivered")).json())

        await until(is_delivered, 20)
        [progress] = (await client.get(f"/files/{FILE}")).json()["subscriptions"]
        assert (progress["delivered_position"], progress["pending"], progress["dead"]) == (1, 0, 0)
        assert (await view(client, body["id"]))["failing_since"] is None
        assert (await client.delete(path)).status_code == 204

        async def is_removed() -> bool:
            return not await list_deliveries(database, UUID(body["id"]))

        await until(is_removed, 20)
