"""Any body at all: 201 exactly if it is valid by a second, independent reading of the rules, else a 4xx."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.events.test_hostile_bodies import FILE_ID, JSON, assert_refused, nested
from tests.support.marks import on_sqlite

pytestmark = [pytest.mark.slow, on_sqlite]
HTTP = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

SCALAR = (
    st.none()
    | st.booleans()
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, float("nan"), float("inf"), -0.0])
    | st.integers()
    | st.floats(width=32)
    | st.text(max_size=5)
    | st.sampled_from(["\0", "\ud800", "\udfff\ud800", "\N{GRINNING FACE}", "upload", FILE_ID])
)
ANYTHING = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALAR.map(str), inner, max_size=4),
    max_leaves=12,
)
METADATA = (
    st.dictionaries(st.text(max_size=5), ANYTHING, max_size=4)
    | st.integers(30, 34).map(nested)
    | st.integers(16_370, 16_390).map(lambda size: {"a": "x" * size})
)
HEXADECIMAL = set("0123456789abcdefABCDEF")
FILE = (
    st.uuids().map(str)
    | st.uuids().map(lambda one: str(one).upper())
    | st.uuids().flatmap(
        lambda one: st.sampled_from(
            [one.hex, one.urn, f"{{{one}}}", f"{{{one.hex}}}", f"urn:uuid:{one.hex}", f" {one}"]
        )
    )
)
TYPE = st.sampled_from(["upload", "update", "delete"])
KEY = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x80), max_size=4) | st.sampled_from(
    ["k" * 255, "k" * 256]
)


def rarely(odd: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda draw: usual if draw else odd)


def event_like(**further: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = {"file_id": rarely(ANYTHING, FILE), "event_type": rarely(ANYTHING, TYPE)}
    optional = {"metadata": rarely(ANYTHING, METADATA | st.none()), **further}
    usual = st.fixed_dictionaries(members, optional=optional)
    return rarely(ANYTHING | usual.map(lambda body: {**body, "more": 1}) | usual.map(lambda body: [body]), usual)


EVENT = event_like()
BATCH = rarely(
    ANYTHING,
    st.fixed_dictionaries(
        {"events": st.lists(event_like(idempotency_key=rarely(ANYTHING, KEY | st.none())), max_size=4)}
    ),
)


def is_readable(value: Any) -> bool:
    """Whether strict JSON can carry the value."""
    match value:
        case bool() | None:
            return True
        case int():
            return value.bit_length() <= 63 or value == -(2**63)
        case float():
            return value == value and abs(value) != float("inf")  # noqa: PLR0124 - NaN is not itself
        case str():
            return "\0" not in value and value == value.encode("utf-8", "ignore").decode()
        case list():
            return all(map(is_readable, value))
        case _:
            return all(is_readable(name) and is_readable(item) for name, item in value.items())


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


def is_uuid(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if value[:9].lower() == "urn:uuid:":
        value = value[9:]
    elif value[:1] == "{" and value[-1:] == "}":
        value = value[1:-1]
    elif len(value) == 32:
        return set(value) <= HEXADECIMAL
    return [len(part) for part in value.split("-")] == [8, 4, 4, 4, 12] and set(value) <= HEXADECIMAL | {"-"}


def is_metadata(value: Any) -> bool:
    if value is None:
        return True
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return isinstance(value, dict) and depth(value) <= 32 and len(compact.encode()) <= 16 * 1024


def is_key(value: Any) -> bool:
    return value is None or (
        isinstance(value, str) and 0 < len(value) <= 255 and all("!" <= character <= "~" for character in value)
    )


def is_event(value: Any, *, may_have_key: bool = False) -> bool:
    if not isinstance(value, dict) or not is_readable(value):
        return False
    known = {"file_id", "event_type", "metadata"} | ({"idempotency_key"} if may_have_key else set())
    return (
        set(value) <= known
        and is_uuid(value.get("file_id"))
        and value.get("event_type") in ("upload", "update", "delete")
        and is_metadata(value.get("metadata"))
        and is_key(value.get("idempotency_key"))
    )


def is_batch(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"events"} or not isinstance(value["events"], list):
        return False
    return bool(value["events"]) and all(is_event(one, may_have_key=True) for one in value["events"])


async def post(client: httpx.AsyncClient, url: str, body: Any) -> tuple[httpx.Response, list[dict[str, Any]]]:
    """The answer, and the events it recorded."""

    async def newest() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = (await client.get("/sync-events?limit=5")).json()
        return events

    before = await newest()
    answer = await client.post(url, content=json.dumps(body), headers=JSON)
    last = before[0]["position"] if before else 0
    return answer, [event for event in await newest() if event["position"] > last]


@HTTP
@given(body=EVENT)
async def test_an_event_is_recorded_exactly_if_it_is_valid(client: httpx.AsyncClient, body: Any) -> None:
    answer, recorded = await post(client, "/sync-events", body)
    if is_event(body):
        assert answer.status_code == 201, answer.text
        assert [event["event_id"] for event in recorded] == [answer.json()["event_id"]]
        assert recorded[0]["metadata"] == body.get("metadata")
    else:
        assert_refused(answer, 422, repr(body))
        assert recorded == []


@HTTP
@given(body=BATCH)
async def test_a_batch_is_recorded_exactly_if_all_of_it_is_valid(client: httpx.AsyncClient, body: Any) -> None:
    answer, recorded = await post(client, "/sync-events/batch", body)
    if answer.json().get("type") == "urn:sync-service:problem:idempotency-key-reused":
        assert is_batch(body)
        assert any(event.get("idempotency_key") for event in body["events"])
        assert recorded == []
    elif is_batch(body):
        assert answer.status_code == 201, answer.text
        assert len(answer.json()["event_ids"]) == len(body["events"])
        assert {event["event_id"] for event in recorded} <= set(answer.json()["event_ids"])
    else:
        assert_refused(answer, 422, repr(body))
        assert recorded == []
