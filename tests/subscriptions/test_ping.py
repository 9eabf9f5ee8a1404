"""A ping goes to a real receiver, and what comes back is shown, whatever it is; on both databases."""

import asyncio
import json

import httpx
import pytest

from app.database.engine import Database
from app.main import create_app
from app.outbound.address import NOT_PUBLIC
from sync_client import verify
from tests.conftest import MakeSettings
from tests.subscriptions.support import change, subscribe, view
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.receiver import Receiver, Reply, answer, hang, receiving, reset
from tests.support.tokens import TokenFactory


async def ping(client: httpx.AsyncClient, subscription_id: str) -> dict[str, object]:
    """Try it out."""
    sent = await client.post(f"/subscriptions/{subscription_id}/test")
    assert sent.status_code == 200, sent.text
    body: dict[str, object] = sent.json()
    return body


async def test_a_ping_is_a_signed_message_like_any_other(client: httpx.AsyncClient) -> None:
    async with receiving(Receiver(lambda _request: answer(202, b"thanks"))) as receiver:
        body = await subscribe(client, url=receiver.url, headers={"X-Tenant": "blue"})
        assert await ping(client, body["id"]) == {
            "outcome": "delivered",
            "status_code": 202,
            "duration_ms": pytest.approx(2500, abs=2500),
            "response": "thanks",
            "error": None,
        }
        rotated = (await client.post(f"/subscriptions/{body['id']}/rotate-secret")).json()
        await change(client, body["id"], status="paused")
        assert (await ping(client, body["id"]))["outcome"] == "delivered"
    first, second = receiver.received
    assert first.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert first.headers["x-tenant"] == "blue"
    assert first.event["type"] == "sync.ping"
    assert first.event["data"] == {"subscription_id": body["id"]}
    assert first.event["id"] == first.headers["webhook-id"] != second.headers["webhook-id"]
    verify(first.headers, first.body, body["secret"])
    for secret in (body["secret"], rotated["secret"]):
        verify(second.headers, second.body, secret)


REPLIES: list[tuple[Reply, str, int | None]] = [
    (answer(500, b"no space left"), "failed", 500),
    (answer(307, location="http://127.0.0.1:1/"), "failed", 307),
    (answer(410), "gone", 410),
    (answer(429, retry_after="5"), "slow_down", 429),
    (reset, "failed", None),
]


async def check_ping(client: httpx.AsyncClient, reply: Reply, outcome: str, status: int | None) -> None:
    """What comes back is shown and changes nothing."""
    async with receiving(Receiver(lambda _request: reply)) as receiver:
        body = await subscribe(client, url=receiver.url)
        result = await ping(client, body["id"])
    assert (result["outcome"], result["status_code"]) == (outcome, status)
    assert (result["error"] is None) == (status is not None), status
    stored = await view(client, body["id"])
    assert (stored["status"], stored["failing_since"], stored["slow_until"]) == ("active", None, None), status


@on_sqlite
async def test_whatever_comes_back_is_shown_and_changes_nothing(client: httpx.AsyncClient) -> None:
    for reply, outcome, status in REPLIES:
        await check_ping(client, reply, outcome, status)
    body = await subscribe(client, url="http://127.0.0.1:9/")  # nobody listens there
    result = await ping(client, body["id"])
    assert (result["outcome"], result["status_code"]) == ("unreachable", None)


@on_sqlite
async def test_a_receiver_that_hangs_is_a_timeout_and_changes_nothing(
    make_settings: MakeSettings, tokens: TokenFactory
) -> None:
    async with serve_in_process(create_app(make_settings(webhook_timeout=0.5))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        await check_ping(client, hang, "timeout", None)


@on_sqlite
async def test_an_answer_can_not_break_who_looks_at_it(client: httpx.AsyncClient) -> None:
    hostile = b"\x1b[2J\x00\x07\x7f\xc2\x9b31m\xff\xfe" + "\u202eevil\u2028\u2066".encode() + b"<script>" + b"x" * 5000
    async with receiving(Receiver(lambda _request: answer(200, hostile))) as receiver:
        body = await subscribe(client, url=receiver.url)
        shown = str((await ping(client, body["id"]))["response"])
    assert len(shown) <= 1024
    assert "evil" in shown
    assert "<script>" in shown
    assert all(character.isprintable() for character in shown)


async def test_no_transaction_is_open_while_it_is_sent(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    """With one connection and one writer, everything else goes on while the receiver lets us wait."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        await answer(200)(reader, writer)

    async with (
        serve_in_process(create_app(make_settings(database_pool_size=1, database_pool_timeout=2))) as client,
        receiving(Receiver(lambda _request: wait)) as receiver,
    ):
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        body = await subscribe(client, url=receiver.url)
        pinging = asyncio.create_task(ping(client, body["id"]))
        await asked.wait()
        changed = await change(client, body["id"], description="meanwhile")
        go_on.set()
        assert (await pinging)["outcome"] == "delivered"
        assert changed["description"] == "meanwhile"


@on_sqlite
async def test_an_address_that_is_not_allowed_any_more_is_not_sent_to(
    make_settings: MakeSettings, tokens: TokenFactory
) -> None:
    headers = {"Authorization": f"Bearer {tokens.token(scope='admin:sync')}"}
    async with receiving() as receiver:
        async with serve_in_process(create_app(make_settings())) as client:
            client.headers.update(headers)
            body = await subscribe(client, url=receiver.url)
        async with serve_in_process(create_app(make_settings(webhook_allow_private_addresses=False))) as client:
            client.headers.update(headers)
            result = await ping(client, body["id"])
        assert (result["outcome"], result["status_code"]) == ("refused", None)
        assert result["error"] == NOT_PUBLIC
        assert json.dumps(result).count("127.0.0.1") == 0
    assert receiver.received == []
