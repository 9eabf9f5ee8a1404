"""Subscriptions are changed and deleted over HTTP, by whoever knows what they are; on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import select, update

from app.database.engine import Database
from app.deliveries.message import MessageFactory
from app.outbound.secret import SecretCipher
from app.subscriptions.models import Subscription
from app.subscriptions.repository import SubscriptionRepository
from tests.deliveries.support import (
    check_lanes,
    due_positions,
    get_subscription,
    list_deliveries,
    make_sweeper,
    pending_delivery,
)
from tests.events.support import add_events
from tests.subscriptions.support import URL, change, errors, subscribe, view
from tests.support.receiver import KEY

FILE = uuid4()
LEASE = timedelta(seconds=40)


async def sent_headers(database: Database, subscription_id: str) -> dict[str, str]:
    """The subscription's own headers, as they are sent."""
    stored = await get_subscription(database, UUID(subscription_id))
    return dict(MessageFactory(SecretCipher([KEY]), uuid4(), "1").signer(stored, datetime.now(UTC)).own_headers)


async def test_what_is_left_out_stays_as_it_is(client: httpx.AsyncClient) -> None:
    before = await subscribe(client, description="old", rate_limit_per_second=5, headers={"X-A": "1"})
    wishes = {"description": "new", "event_types": ["delete"]}
    changed = await client.patch(f"/subscriptions/{before['id']}", json=wishes)
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    del before["secret"]
    after = changed.json()
    assert after["updated_at"] > before["updated_at"]
    assert after == {**before, "description": "new", "event_types": ["delete"], "updated_at": after["updated_at"]}
    assert await view(client, before["id"]) == after
    assert (await change(client, before["id"], rate_limit_per_second=None))["rate_limit_per_second"] is None


async def test_a_change_that_changes_nothing_is_no_version(client: httpx.AsyncClient) -> None:
    wishes: dict[str, Any] = {"description": "same", "headers": {"X-A": "1"}, "status": "paused", "max_concurrency": 3}
    body = await subscribe(client, **wishes)
    for nothing in ({}, wishes, {"url": URL, "headers": {}}, {"headers": {"X-B": None}}):
        answer = await client.patch(f"/subscriptions/{body['id']}", json=nothing)
        assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"'), nothing
        assert answer.json()["updated_at"] == body["updated_at"]


async def test_headers_are_merged_by_name(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client, headers={"Authorization": "Bearer a", "X-A": "1"})
    changes = {"authorization": "Bearer b", "X-B": "2", "X-a": None, "X-C": None}
    after = await change(client, body["id"], headers=changes)
    assert after["header_names"] == ["X-B", "authorization"]
    assert await sent_headers(database, body["id"]) == {"authorization": "Bearer b", "X-B": "2"}
    many = await client.patch(f"/subscriptions/{body['id']}", json={"headers": {f"X-{n}": "v" for n in range(19)}})
    assert errors(many) == [("body.headers", "headers_number")]
    assert (await change(client, body["id"], headers=None))["header_names"] == []
    assert await sent_headers(database, body["id"]) == {}


async def test_only_who_knows_the_present_version_changes_it(client: httpx.AsyncClient) -> None:
    body = await subscribe(client)
    path = f"/subscriptions/{body['id']}"

    async def patch(if_match: str, description: str) -> int:
        answer = await client.patch(path, json={"description": description}, headers={"If-Match": if_match})
        if answer.status_code == 412:
            assert answer.json()["type"].endswith("precondition-failed")
        return answer.status_code

    assert await patch('"1"', "a") == 200
    assert await patch('"1"', "b") == 412
    assert await patch('W/"1"', "b") == 412
    assert await patch('"1", W/"2"', "c") == 200
    assert await patch("*", "d") == 200
    assert await patch("4", "e") == 422
    assert (await view(client, body["id"]))["description"] == "d"
    stale = {"If-Match": '"3"'}
    assert (await client.delete(path, headers=stale)).status_code == 412
    assert (await client.post(f"{path}/rotate-secret", headers=stale)).status_code == 412
    assert (await client.get(path)).headers["ETag"] == '"4"'
    assert (await client.delete(path, headers={"If-Match": '"4"'})).status_code == 204
    assert (await client.patch(path, json={}, headers={"If-Match": "*"})).status_code == 404


async def test_of_changes_at_once_with_one_etag_one_wins(client: httpx.AsyncClient) -> None:
    body = await subscribe(client)
    path = f"/subscriptions/{body['id']}"
    changes = (client.patch(path, json={"description": f"change {n}"}, headers={"If-Match": '"1"'}) for n in range(8))
    answers = await asyncio.gather(*changes)
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    [winner] = [answer.json() for answer in answers if answer.status_code == 200]
    assert await view(client, body["id"]) == winner


async def test_of_changes_at_once_without_a_condition_none_is_lost(client: httpx.AsyncClient) -> None:
    body = await subscribe(client)
    path = f"/subscriptions/{body['id']}"
    answers = await asyncio.gather(*(client.patch(path, json={"headers": {f"X-{n}": "v"}}) for n in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len((await view(client, body["id"]))["header_names"]) == 8
    assert (await client.get(path)).headers["ETag"] == '"9"'


async def test_a_pause_keeps_the_backlog(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client)
    paused = await change(client, body["id"], status="paused")
    assert (paused["status"], paused["backlog"]["live"]) == ("paused", False)
    await add_events(database, (FILE, "upload"))
    await make_sweeper(database).run_once()
    assert (await view(client, body["id"]))["backlog"]["behind"] == 1
    active = await change(client, body["id"], status="active")
    assert (active["status"], active["backlog"]) == ("active", {"live": False, "position": 0, "behind": 1})


async def test_a_disabled_one_is_made_active_with_a_clean_slate(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client)
    long_ago = datetime.now(UTC) - timedelta(days=5)
    async with database.transaction() as session:
        repository = SubscriptionRepository(session)
        stored = await repository.get_for_change(UUID(body["id"]))
        stored.failing_since, stored.slow_until, stored.slow_count = long_ago, long_ago + timedelta(days=9), 7
        await repository.mark_disabled(stored, "The receiver responded with 410 Gone.")
    disabled = await view(client, body["id"])
    assert (disabled["status"], disabled["status_reason"]) == ("disabled", "The receiver responded with 410 Gone.")
    assert disabled["failing_since"]
    assert disabled["slow_until"]
    assert [one["id"] for one in (await client.get("/subscriptions?status=disabled")).json()] == [body["id"]]
    active = await change(client, body["id"], status="active")
    assert active["status"] == "active"
    assert active["status_reason"] is active["failing_since"] is active["slow_until"] is None
    assert (await get_subscription(database, UUID(body["id"]))).slow_count == 0


async def test_an_active_one_that_is_slowed_is_sent_to_at_once_when_it_is_made_active(
    client: httpx.AsyncClient, database: Database
) -> None:
    body = await subscribe(client, start="beginning")
    later = datetime.now(UTC) + timedelta(hours=8)
    await add_events(database, (FILE, "upload"))
    async with database.transaction() as session:
        session.add(pending_delivery(UUID(body["id"]), position=1, due_at=later))
        await session.execute(update(Subscription).values(slow_until=later, slow_count=3, failing_since=later))
    changed = await client.patch(f"/subscriptions/{body['id']}", json={"status": "active"})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"1"')
    assert changed.json()["slow_until"] is changed.json()["failing_since"] is None
    assert (await get_subscription(database, UUID(body["id"]))).slow_count == 0
    [one] = await list_deliveries(database, UUID(body["id"]))
    assert one.due_at
    assert one.due_at < datetime.now(UTC) + timedelta(minutes=1)


async def test_a_new_url_is_tried_at_once(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client, status="paused", start="beginning")
    later = datetime.now(UTC) + timedelta(hours=8)
    await add_events(database, (FILE, "upload"))
    async with database.transaction() as session:
        session.add(pending_delivery(UUID(body["id"]), position=1, due_at=later))
        await session.execute(update(Subscription).values(slow_until=later, slow_count=3, failing_since=later))
    changed = await change(client, body["id"], url="https://elsewhere.example.com/")
    assert changed["slow_until"] is changed["failing_since"] is None
    [one] = await list_deliveries(database, UUID(body["id"]))
    assert one.due_at
    assert one.due_at < datetime.now(UTC) + timedelta(minutes=1)


async def test_a_deleted_one_is_gone_for_everybody_at_once(client: httpx.AsyncClient, database: Database) -> None:
    body, other = await subscribe(client, headers={"X-A": "secret"}), await subscribe(client)
    [event] = await add_events(database, (FILE, "upload"))
    async with database.transaction() as session:
        # Under the lease of a process that is sending it, so that the removal leaves it for now.
        soon = datetime.now(UTC) + LEASE
        session.add(pending_delivery(UUID(body["id"]), id=7, position=1, due_at=soon, claimed_by="p"))
    path = f"/subscriptions/{body['id']}"
    assert (await client.get("/deliveries/7")).json()["sending"] is True
    gone = await client.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (
        await client.get(path),
        await client.delete(path),
        await client.get(f"{path}/deliveries"),
        await client.get("/deliveries/7"),
        await client.post("/deliveries/7/redeliver"),
        await client.post(f"{path}/redeliver"),
        await client.patch(path, json={"status": "active"}),
    ):
        assert answer.status_code == 404, answer.request.url
    assert (await client.get(f"/sync-events/{event}/deliveries")).json() == []
    assert [one["id"] for one in (await client.get("/subscriptions")).json()] == [other["id"]]
    progress = (await client.get(f"/files/{FILE}")).json()["subscriptions"]
    assert [one["subscription_id"] for one in progress] == [other["id"]]
    stored = await get_subscription(database, UUID(body["id"]))
    assert (stored.secret, stored.headers) == (b"", None)
    await make_sweeper(database).run_once()
    assert len(await list_deliveries(database, stored.id)) == 1


async def test_the_lanes_keep_their_rule(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client, status="paused", start="beginning")
    await add_events(database, *((FILE, "update") for _ in range(3)))
    await change(client, body["id"], status="active")
    await check_lanes(database)
    assert await due_positions(database, UUID(body["id"])) == []


async def test_who_has_not_seen_that_it_is_disabled_does_not_undo_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    created = await client.post("/subscriptions", json={"url": "https://metadata.example.com/"})
    async with database.transaction() as session:
        repository = SubscriptionRepository(session)
        await repository.mark_disabled((await session.scalars(select(Subscription))).one(), "It failed.")
    path, seen = created.headers["Location"], {"If-Match": created.headers["ETag"]}
    assert (await client.patch(path, json={"status": "active"}, headers=seen)).status_code == 412
    now = {"If-Match": (await client.get(path)).headers["ETag"]}
    assert (await client.patch(path, json={"status": "active"}, headers=now)).json()["status"] == "active"
