"""Subscriptions are made, read and listed over HTTP; on both databases."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx

from app.database.engine import Database
from app.main import create_app
from app.outbound.secret import is_secret
from tests.conftest import MakeSettings
from tests.deliveries.support import make_sweeper, pending_positions
from tests.events.support import add_events
from tests.subscriptions.support import URL, errors, subscribe, view
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

FILE = uuid4()
OWN_SECRET = "whsec_" + "QUJD" * 8


async def test_a_subscription_with_nothing_but_a_url(client: httpx.AsyncClient) -> None:
    answer = await client.post("/subscriptions", json={"url": URL})
    assert answer.status_code == 201
    body = answer.json()
    assert answer.headers["Location"] == f"subscriptions/{body['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert is_secret(body.pop("secret"))
    assert body == {
        "id": body["id"],
        "url": URL,
        "description": "",
        "event_types": ["upload", "delete", "update"],
        "header_names": [],
        "ordering": "per_file",
        "max_concurrency": 10,
        "rate_limit_per_second": None,
        "status": "active",
        "status_reason": None,
        "created_at": body["created_at"],
        "created_by": "chunker@clients",
        "updated_at": body["created_at"],
        "old_secret_until": None,
        "start_position": 0,
        "backlog": {"live": True, "position": 0, "behind": 0},
        "pending": 0,
        "oldest_pending_at": None,
        "dead": 0,
        "failing_since": None,
        "slow_until": None,
        "replay": None,
    }
    read = await client.get(answer.headers["Location"])
    assert (read.status_code, read.headers["ETag"], read.json()) == (200, '"1"', body)


async def test_everything_that_can_be_asked_for(client: httpx.AsyncClient) -> None:
    wishes: dict[str, Any] = {
        "description": "ß\n\u202e indexer",
        "event_types": ["update", "upload"],
        "headers": {"Authorization": "Bearer a b", "X-Tenant": "blue"},
        "ordering": "none",
        "max_concurrency": 100,
        "rate_limit_per_second": 0.5,
        "status": "paused",
        "secret": OWN_SECRET,
    }
    body = await subscribe(client, **wishes)
    assert body["secret"] == OWN_SECRET
    assert body["header_names"] == ["Authorization", "X-Tenant"]
    assert body["event_types"] == ["upload", "update"]
    for name in ("description", "ordering", "max_concurrency", "rate_limit_per_second", "status"):
        assert body[name] == wishes[name], name
    assert body["backlog"]["live"] is False


async def test_where_a_subscription_starts(client: httpx.AsyncClient, database: Database) -> None:
    await add_events(database, *((FILE, "update") for _ in range(5)))
    latest = await subscribe(client)
    beginning = await subscribe(client, start="beginning")
    third = await subscribe(client, start=3)
    last = await subscribe(client, start=5)
    assert [one["start_position"] for one in (latest, beginning, third, last)] == [5, 0, 3, 5]
    assert latest["backlog"] == {"live": True, "position": 0, "behind": 5}
    assert third["backlog"] == {"live": False, "position": 3, "behind": 2}
    beyond = await client.post("/subscriptions", json={"url": URL, "start": 6})
    assert errors(beyond) == [("body.start", "beyond_ledger")]
    await add_events(database, (FILE, "update"))
    await make_sweeper(database).run_once()
    assert await pending_positions(database, UUID(latest["id"])) == [6]


async def test_one_that_begins_paused_gets_its_events_later(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client, status="paused")
    await add_events(database, (FILE, "upload"))
    await make_sweeper(database).run_once()
    assert (await view(client, body["id"]))["backlog"] == {"live": False, "position": 0, "behind": 1}


async def test_there_are_no_more_than_may_be(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    async with serve_in_process(create_app(make_settings(webhook_max_subscriptions=2))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        first = await subscribe(client)
        await subscribe(client)
        refused = await client.post("/subscriptions", json={"url": URL})
        assert refused.status_code == 409
        assert refused.json()["type"].endswith("too-many-subscriptions")
        assert (await client.delete(f"/subscriptions/{first['id']}")).status_code == 204
        await subscribe(client)


@on_sqlite
async def test_without_a_key_no_secret_is_taken(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    async with serve_in_process(create_app(make_settings(webhook_encryption_keys=""))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        refused = await client.post("/subscriptions", json={"url": URL})
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("no-encryption-key")
        assert refused.headers["Retry-After"]
        assert (await client.get("/subscriptions")).json() == []


async def test_the_list_is_paged_and_filtered(client: httpx.AsyncClient) -> None:
    ids = [(await subscribe(client, status="paused" if number % 2 else "active"))["id"] for number in range(5)]
    listed = await client.get("/subscriptions")
    assert [one["id"] for one in listed.json()] == ids
    assert "secret" not in listed.json()[0]
    assert "Link" not in listed.headers
    page = await client.get("/subscriptions?limit=2&offset=1&status=active")
    assert [one["id"] for one in page.json()] == [ids[2], ids[4]]
    assert page.headers["Link"] == '<?status=active&limit=2&offset=0>; rel="prev"'
    first = await client.get("/subscriptions?limit=2")
    assert first.headers["Link"] == '<?limit=2&offset=2>; rel="next"'
    assert [one["id"] for one in (await client.get("/subscriptions?status=disabled")).json()] == []


@on_sqlite
async def test_a_list_that_can_not_be(client: httpx.AsyncClient) -> None:
    for query in ("limit=0", "limit=101", "offset=-1", "status=deleted", "status=x", "x=1", "limit=1e1"):
        assert (await client.get(f"/subscriptions?{query}")).status_code == 422, query


async def test_one_that_is_not_there(client: httpx.AsyncClient) -> None:
    path = f"/subscriptions/{uuid4()}"
    answers = [
        await client.get(path),
        await client.patch(path, json={"description": ""}),
        await client.delete(path),
        *[await client.post(f"{path}/{action}") for action in ("rotate-secret", "test", "redeliver")],
        await client.post(f"{path}/replay", json={"from_position": 1}),
        await client.get(f"{path}/deliveries"),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["detail"] for answer in answers} == {"There is no subscription with this id."}


async def test_times_are_of_the_databases_clock_in_utc(client: httpx.AsyncClient) -> None:
    body = await subscribe(client)
    assert body["created_at"].endswith("Z")
    assert datetime.fromisoformat(body["created_at"]).tzinfo is not None
