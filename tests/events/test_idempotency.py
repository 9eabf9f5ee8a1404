"""Idempotency keys of single events: a retry gets the first response, another body is refused; on both databases."""

import json
from uuid import uuid4

import httpx
import pytest

from tests.events.support import new_event, post
from tests.support.tokens import TokenFactory


async def test_a_retry_with_the_same_key_and_body_is_answered_as_the_first_time(
    client: httpx.AsyncClient,
) -> None:
    event = new_event(metadata={"a": 1, "b": [2]})
    first = await post(client, event, "key-1")
    again = await post(client, {**event, "metadata": {"b": [2], "a": 1}}, "key-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len((await client.get("/sync-events")).json()) == 1


OTHER_EVENTS: list[dict[str, object]] = [
    {"event_type": "delete"},
    {"metadata": {"a": 2}},
    {"metadata": None},
    {"file_id": str(uuid4())},
]


async def test_a_key_used_for_another_event_is_refused(client: httpx.AsyncClient) -> None:
    event = new_event(metadata={"a": 1})
    await post(client, event, "key-1")
    for change in OTHER_EVENTS:
        answer = await post(client, {**event, **change}, "key-1")
        assert answer.status_code == 422, change
        assert answer.json()["type"] == "urn:sync-service:problem:idempotency-key-reused"
    assert len((await client.get("/sync-events")).json()) == 1


SENT = {"n": 1, "list": [0, 100, None], "inner": {"big": 9007199254740993, "on": True}}


async def retry(client: httpx.AsyncClient, before: str, after: str) -> int:
    """The status of a repeated POST, one number of whose metadata is spelt in another way."""
    body = json.dumps(new_event(metadata=SENT))
    headers = {"Idempotency-Key": "key-1", "Content-Type": "application/json"}
    assert (await client.post("/sync-events", content=body, headers=headers)).status_code == 201
    assert before in body
    return (await client.post("/sync-events", content=body.replace(before, after), headers=headers)).status_code


@pytest.mark.parametrize(
    ("before", "after"),
    [('"n": 1', '"n": 1.0'), ("[0, 100, null]", "[-0.0, 1e2, null]"), ("[0, 100, null]", "[-0, 1E+2, null]")],
)
async def test_equal_json_values_are_equal_bodies(client: httpx.AsyncClient, before: str, after: str) -> None:
    assert await retry(client, before, after) == 201


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("9007199254740993", "9007199254740992"),
        ("9007199254740993", "9007199254740992.0"),
        ('"n": 1', '"n": true'),
        ('"on": true', '"on": 1'),
        ('"n": 1', '"n": "1"'),
        ("[0, 100, null]", "[0, null, 100]"),
        ("[0, 100, null]", "[0, 100]"),
        ("[0, 100, null]", "{}"),
    ],
)
async def test_other_json_values_are_other_bodies(client: httpx.AsyncClient, before: str, after: str) -> None:
    assert await retry(client, before, after) == 422


async def test_keys_are_scoped_to_the_sender(client: httpx.AsyncClient, tokens: TokenFactory) -> None:
    event = new_event()
    first = await post(client, event, "key-1")
    client.headers["Authorization"] = f"Bearer {tokens.token(sub='other@clients')}"
    other = await post(client, event, "key-1")
    assert other.status_code == 201
    assert other.json()["event_id"] != first.json()["event_id"]


STRANGE_KEYS = ["", " ", "a b", "\x7f", "é".encode().decode("latin-1"), "x" * 256]


async def test_a_strange_key_is_refused(client: httpx.AsyncClient) -> None:
    for key in STRANGE_KEYS:
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        answer = await client.post("/sync-events", json=new_event(), headers=headers)
        assert answer.status_code == 422, key
        assert answer.json()["errors"][0]["loc"] == ["header", "idempotency-key"], key


async def test_two_keys_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await client.post("/sync-events", json=new_event(), headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["type"] == "header_repeated"


async def test_the_longest_key_is_taken(client: httpx.AsyncClient) -> None:
    assert (await post(client, new_event(), "~" * 255)).status_code == 201
