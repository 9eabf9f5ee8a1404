"""With a synchronous standby nothing is confirmed or shown that a failover could remove; on a real pair of servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, event, text

from app.changes.cursor import EVERYTHING
from app.changes.feed import ChangeFeed
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.database.watch import watch_durability
from app.events.event_reader import EventReader
from app.main import create_app
from tests.conftest import Alembic, MakeSettings
from tests.deliveries.replica import encrypted, running
from tests.deliveries.support import add_subscription
from tests.events.support import open_ledger, record
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.receiver import receiving
from tests.support.replication import WAITING, ReplicatedPostgres
from tests.support.tokens import TokenFactory
from tests.support.waiting import until, until_ready

QUICK = {
    "database_lock_timeout": 0.3,
    "database_statement_timeout": 0.5,
    "ledger_append_timeout": 5,
    "sync_event_process_interval": 3600,  # a sweep commits too, and would wait for the standby beside the readers
}
# Beside it a look of the readers may wait; on a busy machine an append is repeated before it is seen to wait.
AN_APPEND_WAITS = f"SELECT count(*) > 0 {WAITING} AND query LIKE '%INSERT INTO sync_events%'"

Serve = Callable[..., Any]

# Each test uses the pair instead.
pytestmark = on_sqlite


@pytest.fixture(scope="module")
def pair(alembic: Alembic) -> Iterator[ReplicatedPostgres]:
    """A primary and its synchronous standby, with a migrated database."""
    servers = ReplicatedPostgres()
    alembic(servers.primary.url("postgres"), "upgrade", "head")
    yield servers
    servers.remove()


@pytest.fixture
def serve(pair: ReplicatedPostgres, make_settings: MakeSettings, tokens: TokenFactory) -> Serve:
    """Serve the primary, or another server of the pair."""

    @asynccontextmanager
    async def start(url: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        settings = make_settings(database_url=url or pair.primary.url("postgres"), **QUICK)
        async with serve_in_process(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
            await until_ready(client)
            yield client

    return start


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service on the primary."""
    async with serve() as client:
        yield client


def post(client: httpx.AsyncClient, file_id: str) -> Awaitable[httpx.Response]:
    """Post an upload of the file, whose id is the idempotency key too."""
    event = {"file_id": file_id, "event_type": "upload"}
    return client.post("/sync-events", json=event, headers={"Idempotency-Key": file_id})


async def post_until_confirmed(client: httpx.AsyncClient, file_id: str) -> httpx.Response:
    """The 201 of the upload of the file, which is posted again while the standby is too slow for `QUICK`."""
    responses: list[httpx.Response] = []

    async def is_confirmed() -> bool:
        responses.append(await post(client, file_id))
        assert responses[-1].status_code in (httpx.codes.CREATED, httpx.codes.SERVICE_UNAVAILABLE), responses[-1].text
        return responses[-1].is_success

    await until(is_confirmed)
    return responses[-1]


def new_file() -> str:
    return str(uuid4())


def expect_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert int(response.headers["Retry-After"]) >= 1


async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Run what takes its time without holding up the service."""
    return await asyncio.to_thread(call, *arguments)


async def post_in_vain(client: httpx.AsyncClient, pair: ReplicatedPostgres, end: Callable[[], None]) -> str:
    """Post an event whose wait for the standby is ended, so that the primary alone has it; returns its file."""
    file_id = new_file()
    posting = asyncio.ensure_future(post(client, file_id))
    await in_thread(pair.wait_for, AN_APPEND_WAITS, "t")
    await in_thread(end)
    expect_unavailable(await posting)
    assert await in_thread(find_event, pair, file_id)
    return file_id


def find_event(pair: ReplicatedPostgres, file_id: str) -> str:
    """The id of the file's event on the primary."""
    return pair.primary.sql(f"SELECT id FROM sync_events WHERE file_id = '{file_id}'")  # noqa: S608


async def read_head(client: httpx.AsyncClient) -> int:
    """The last position that the feed shows."""
    response = await client.get("/changes", params={"cursor": "latest"})
    assert response.status_code == 200, response.text
    head: int = response.json()["head_position"]
    return head


async def test_a_post_is_never_cancelled_and_its_retry_is_no_replay(
    pair: ReplicatedPostgres, client: httpx.AsyncClient
) -> None:
    await post_until_confirmed(client, new_file())
    head, file_id = await read_head(client), new_file()
    with pair.without_standby():
        expect_unavailable(await post(client, file_id))
        assert pair.count_waits() == 1
        expect_unavailable(await post(client, file_id))
        assert await read_head(client) == head
    assert "canceling wait" not in pair.primary.log
    response = await post_until_confirmed(client, file_id)
    assert response.headers["Idempotency-Replayed"] == "true"
    assert await read_head(client) == head + 1


@pytest.mark.parametrize("how", ["cancel_waits", "terminate_waits"])
async def test_what_the_primary_alone_has_is_not_shown(
    pair: ReplicatedPostgres, client: httpx.AsyncClient, how: str
) -> None:
    first = new_file()
    shown = (await post_until_confirmed(client, first)).json()["event_id"]
    head = await read_head(client)
    cursor = (await client.get("/changes", params={"cursor": "latest"})).json()["cursor"]
    with pair.without_standby():
        file_id = await post_in_vain(client, pair, getattr(pair, how))
        event_id = find_event(pair, file_id)
        expect_unavailable(await post(client, file_id))
        expect_unavailable(await client.get(f"/sync-events/{event_id}"))
        expect_unavailable(await client.get(f"/files/{file_id}"))
        assert (await client.get(f"/sync-events/{shown}")).status_code == 200
        assert (await client.get(f"/files/{first}")).status_code == 200
        newest = (await client.get("/sync-events", params={"limit": 1})).json()
        assert [one["position"] for one in newest] == [head]
        assert (await client.get("/overview")).json()["head_position"] == head
        assert (await client.get("/sync-events", params={"file_id": file_id})).json() == []
        assert (await client.get(f"/files/{file_id}/events")).status_code == 404
        page = (await client.get("/changes", params={"cursor": cursor, "wait": 1})).json()
        assert (page["changes"], page["has_more"], page["head_position"]) == ([], False, head)
    assert (await post_until_confirmed(client, file_id)).json()["event_id"] == event_id
    assert (await client.get(f"/sync-events/{event_id}")).status_code == 200
    assert (await client.get(f"/files/{file_id}")).status_code == 200
    page = (await client.get("/changes", params={"cursor": cursor})).json()
    assert [change["event_id"] for change in page["changes"]] == [event_id]


async def test_the_live_tail_ends_at_what_is_durable(pair: ReplicatedPostgres, client: httpx.AsyncClient) -> None:
    cursor = (await client.get("/changes", params={"cursor": "latest"})).json()["cursor"]
    poll = asyncio.ensure_future(client.get("/changes", params={"cursor": cursor, "wait": 60}))
    with pair.without_standby():
        file_id = await post_in_vain(client, pair, pair.terminate_waits)
        done, _ = await asyncio.wait({poll}, timeout=0.5)
        assert not done
    [change] = (await poll).json()["changes"]
    assert change["file_id"] == file_id


async def test_one_wait_serves_many_readers(pair: ReplicatedPostgres, client: httpx.AsyncClient) -> None:
    await post_until_confirmed(client, new_file())
    head = await read_head(client)
    with pair.without_standby():
        file_id = await post_in_vain(client, pair, pair.terminate_waits)
        event_id = find_event(pair, file_id)
        paths = [f"/sync-events/{event_id}", "/sync-events?limit=1", f"/files/{file_id}"]
        reads = [asyncio.ensure_future(client.get(path)) for path in paths * 30]
        await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
        assert await in_thread(pair.count_waits) == 1
        responses = await asyncio.gather(*reads)
        assert await in_thread(pair.count_waits) == 1
        assert {response.status_code for response in responses[0::3]} == {503}
        lists = [response.json()[0]["position"] for response in responses[1::3] if response.status_code == 200]
        assert set(lists) == {head}


async def test_a_restarted_primary_has_nothing_that_is_known_to_be_durable(
    pair: ReplicatedPostgres, client: httpx.AsyncClient
) -> None:
    await post_until_confirmed(client, new_file())
    head = await read_head(client)
    with pair.without_standby():
        pair.primary.stop()
        pair.primary.start()
        await client.get("/sync-events")  # may meet a connection that is cut
        expect_unavailable(await client.get("/sync-events"))
        expect_unavailable(await client.get("/changes"))
    assert await read_head(client) == head


async def test_of_two_hosts_the_one_that_accepts_writes_is_used(
    pair: ReplicatedPostgres, make_settings: MakeSettings
) -> None:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in (pair.standby, pair.primary))
    for options, reads_standby in (("", False), ("?target_session_attrs=any", True)):
        database = Database(make_settings(database_url=f"postgresql://postgres@{hosts}/postgres{options}"))
        async with database.read() as session:
            assert await session.scalar(text("SELECT pg_is_in_recovery()")) is reads_standby
        await database.close()


async def test_deliveries_end_at_what_is_durable(pair: ReplicatedPostgres, make_settings: MakeSettings) -> None:
    database = Database(make_settings(database_url=pair.primary.url("postgres"), **QUICK))
    await watch_durability(database)
    ledger = open_ledger(database)
    async with receiving() as receiver, running(database) as replica:
        await replica.sweep()
        await add_subscription(database, url=receiver.url, secret=encrypted())
        await ledger.append([record()])
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 1)
        with pair.without_standby():
            appending = asyncio.ensure_future(ledger.append([record()]))
            await in_thread(pair.wait_for, AN_APPEND_WAITS, "t")
            await in_thread(pair.terminate_waits)
            with pytest.raises(DatabaseUnavailable):
                await appending
            with suppress(DatabaseUnavailable):
                await replica.sweep()
            await replica.dispatcher.run_once()
            assert len(receiver.received) == 1
        await replica.sweep()
        await replica.dispatch_until(lambda: len(receiver.received) == 2)
    await database.close()


async def test_without_standbys_no_statement_is_added(pair: ReplicatedPostgres, make_settings: MakeSettings) -> None:
    pair.require_standby("")
    database = Database(make_settings(database_url=pair.primary.url("postgres"), **QUICK))
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    try:
        await watch_durability(database)
        [receipt] = await open_ledger(database).append([record()])
        event.listen(Engine, "before_cursor_execute", note)
        await open_ledger(database).append([record()])
        await EventReader(database, 5).get(receipt.event_id)
        await database.watermark.reach(2**62)
        assert await database.watermark.bound() is None
        assert len(statements) == 2
        await ChangeFeed(database).read("latest", EVERYTHING, limit=1)
        assert len(statements) == 5
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        pair.require_standby("standby")
        await database.close()


async def test_after_a_promotion_nothing_is_gone_that_was_shown(
    pair: ReplicatedPostgres, client: httpx.AsyncClient, serve: Serve
) -> None:
    for _ in range(3):
        await post_until_confirmed(client, new_file())
    pair.standby.kill()
    lost = await post_in_vain(client, pair, pair.terminate_waits)
    expect_unavailable(await post(client, lost))
    shown = (await client.get("/changes", params={"limit": 1000})).json()["changes"]
    await in_thread(pair.promote_standby)
    async with serve(pair.standby.url("postgres")) as promoted:
        response = await promoted.get("/changes", params={"limit": 1000})
        assert response.status_code == 200, response.text
        ids = [change["event_id"] for change in response.json()["changes"]]
        assert ids == [change["event_id"] for change in shown]
        response = await post(promoted, lost)
        assert response.status_code == 201
        assert "Idempotency-Replayed" not in response.headers
