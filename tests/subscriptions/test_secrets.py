"""Secrets are shown once, and are nowhere else as plain text; on both databases."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text, update

from app.database.engine import Database
from app.deliveries.message import MessageFactory
from app.main import create_app
from app.outbound.secret import SecretCipher, is_secret
from app.subscriptions.models import Subscription
from sync_client import verify
from tests.conftest import MakeSettings
from tests.deliveries.support import get_subscription
from tests.log.support import read_printed
from tests.subscriptions.support import change, subscribe, view
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.receiver import KEY, Receiver, receiving
from tests.support.tokens import TokenFactory

HEADER = "Bearer plain-text-of-a-header"


async def signing_secrets(database: Database, subscription_id: str) -> list[str]:
    """Those that messages are signed with now."""
    stored = await get_subscription(database, UUID(subscription_id))
    return list(MessageFactory(SecretCipher([KEY]), uuid4(), "1").signer(stored, datetime.now(UTC)).secrets)


async def test_an_old_secret_signs_along_for_a_day(client: httpx.AsyncClient, database: Database) -> None:
    body = await subscribe(client)
    rotated = await client.post(f"/subscriptions/{body['id']}/rotate-secret", headers={"If-Match": '"1"'})
    assert (rotated.status_code, rotated.headers["ETag"]) == (200, '"2"')
    assert rotated.headers["Cache-Control"] == "no-store"
    answer = rotated.json()
    assert is_secret(answer["secret"])
    until = datetime.fromisoformat(answer["old_secret_until"])
    assert timedelta(hours=23) < until - datetime.now(UTC) <= timedelta(hours=24, seconds=5)
    assert await signing_secrets(database, body["id"]) == [answer["secret"], body["secret"]]
    assert (await view(client, body["id"]))["old_secret_until"] == answer["old_secret_until"]
    again = (await client.post(f"/subscriptions/{body['id']}/rotate-secret")).json()
    assert await signing_secrets(database, body["id"]) == [again["secret"], answer["secret"]]
    async with database.transaction() as session:
        await session.execute(update(Subscription).values(old_secret_until=datetime.now(UTC) - timedelta(seconds=9)))
    assert await signing_secrets(database, body["id"]) == [again["secret"]]
    assert (await view(client, body["id"]))["old_secret_until"] is None


async def test_a_secret_is_shown_once_and_kept_nowhere_as_it_is(
    make_settings: MakeSettings,
    tokens: TokenFactory,
    database: Database,
    *,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("aiosqlite", "sqlalchemy.engine", "httpcore", "httpx"):
        caplog.set_level(logging.INFO, name)  # what the service silences
    async with serve_in_process(create_app(make_settings())) as client, receiving(Receiver()) as receiver:
        client.headers["Authorization"] = f"Bearer {tokens.token(scope='admin:sync')}"
        body = await subscribe(client, url=receiver.url, headers={"Authorization": HEADER})
        path = f"/subscriptions/{body['id']}"
        rotated = (await client.post(f"{path}/rotate-secret")).json()
        own = await subscribe(client, secret="whsec_" + "QUJD" * 8, start="beginning")
        leaky = {"url": "x", "secret": body["secret"], "headers": {"A": HEADER}}
        wrong = await client.post("/subscriptions", json=leaky)
        later = [
            wrong,
            await client.get(path),
            await client.patch(path, json={"description": "x", "headers": {"X-B": HEADER}}),
            await client.get("/subscriptions"),
            await client.post(f"{path}/test"),
            await client.delete(f"/subscriptions/{own['id']}"),
            await client.get("/subscriptions"),
        ]
        metrics = (await client.get("/metrics")).text
    assert receiver.received[0].headers["authorization"] == HEADER
    secrets = [body["secret"], rotated["secret"], own["secret"], HEADER]
    printed = "".join(read_printed(capfd))
    logged = "\n".join(f"{record.getMessage()} {record.args} {record.__dict__}" for record in caplog.records)
    stored = await everything_stored(database)
    for secret in secrets:
        bare = secret.removeprefix("whsec_").removeprefix("Bearer ")
        assert not any(bare in answer.text for answer in later)
        assert bare not in metrics
        assert bare not in printed
        assert bare not in logged
        assert bare not in stored
    assert body["id"] in logged
    assert UUID(body["id"]).hex in stored.replace("-", "")


def files_of(folder: Path) -> str:
    """Every byte of a SQLite database."""
    return "".join(file.read_bytes().decode("latin-1") for file in sorted(folder.glob("sync.db*")))


async def everything_stored(database: Database) -> str:
    """The rows of the webhooks, and of SQLite every byte of its files."""
    async with database.read() as session:
        rows = (await session.execute(text("SELECT * FROM subscriptions"))).all()
    dump = json.dumps([[_plain(value) for value in row] for row in rows])
    files = files_of(Path(str(database.engine.url.database)).parent) if database.is_sqlite else ""
    assert bool(files) == database.is_sqlite
    return dump + files


def _plain(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


@on_sqlite
async def test_with_another_key_everything_but_the_secrets_is_there(
    make_settings: MakeSettings, tokens: TokenFactory, database: Database
) -> None:
    headers = {"Authorization": f"Bearer {tokens.token(scope='admin:sync')}"}
    async with serve_in_process(create_app(make_settings())) as client:
        client.headers.update(headers)
        body = await subscribe(client, headers={"X-A": HEADER})
    async with serve_in_process(create_app(make_settings(webhook_encryption_keys="another" * 5))) as client:
        client.headers.update(headers)
        path = f"/subscriptions/{body['id']}"
        assert (await view(client, body["id"]))["header_names"] is None
        assert (await client.get("/subscriptions")).json()[0]["header_names"] is None
        for refused in (await client.post(f"{path}/test"), await client.patch(path, json={"headers": {"X-B": "v"}})):
            assert refused.status_code == 503
            assert refused.json()["type"].endswith("encryption-key-missing")
        # The way out: set headers and secret anew.
        assert (await change(client, body["id"], headers=None))["header_names"] == []
        rotated = (await client.post(f"{path}/rotate-secret")).json()
        assert rotated["old_secret_until"] is None
        async with receiving(Receiver()) as receiver:
            await change(client, body["id"], url=receiver.url)
            assert (await client.post(f"{path}/test")).json()["outcome"] == "delivered"
            sent = receiver.received[0]
            verify(sent.headers, sent.body, rotated["secret"])
        assert (await client.post(f"{path}/rotate-secret")).json()["old_secret_until"]
        assert (await client.delete(path)).status_code == 204
