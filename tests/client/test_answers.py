"""Answers that no Sync Service gives: of proxies, of other services, of hostile ones. None is taken for good."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from sync_client import (
    GapError,
    Invalid,
    NotFound,
    Refused,
    RetryPolicy,
    SyncClient,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)

QUICK = RetryPolicy(attempts=3, base_seconds=0.001, cap_seconds=0.001)
JSON = {"Content-Type": "application/json"}
EVENT: dict[str, Any] = {
    "event_id": str(UUID(int=1)),
    "file_id": str(UUID(int=2)),
    "event_type": "upload",
    "created_at": "2026-01-15T10:30:00Z",
    "created_by": "chunker",
    "metadata": None,
    "processed": False,
    "processed_at": None,
    "anomaly": None,
    "state": "pending",
    "attempts": 0,
    "last_error": None,
}


def client(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> SyncClient:
    return SyncClient(
        "http://sync-service/base", "token", transport=httpx.MockTransport(answer), policy=QUICK, **options
    )


@pytest.mark.parametrize(
    ("answer", "error", "attempts"),
    [
        ({"text": "<html>Log in first</html>"}, UnexpectedAnswer, 1),
        ({"json": {"welcome": "here"}}, UnexpectedAnswer, 1),
        ({"json": []}, UnexpectedAnswer, 1),
        ({"text": '{"event_id": "a', "headers": JSON}, Unavailable, 3),
        ({"text": "", "headers": JSON}, Unavailable, 3),
        ({"stream": httpx.ByteStream(b"this is no gzip"), "headers": {"Content-Encoding": "gzip"}}, Unavailable, 3),
        ({"status_code": 302, "headers": {"Location": "http://elsewhere/"}}, Refused, 1),
        ({"status_code": 404, "text": "<html>nginx</html>"}, NotFound, 1),
        ({"status_code": 413, "text": "too large"}, Refused, 1),
        ({"status_code": 422, "json": {"errors": "x", "detail": 3}}, Invalid, 1),
        ({"status_code": 502, "text": "<html>Bad Gateway</html>"}, Unavailable, 3),
        ({"status_code": 503, "headers": {"Retry-After": "3600"}}, Unavailable, 1),
        ({"status_code": 503, "headers": {"Retry-After": "9" * 400}}, Unavailable, 1),
    ],
)
async def test_what_is_not_understood_is_an_error(
    answer: dict[str, Any], error: type[Exception], attempts: int
) -> None:
    keys: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return httpx.Response(**{"status_code": 201} | answer)

    async with client(respond) as sync:
        with pytest.raises(error) as raised:
            await sync.create(uuid4(), "upload", {"secret": "hunter2"})
    assert type(raised.value) is error
    assert len(keys) == attempts
    assert len(set(keys)) == 1
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("base", ["http://thief/x", "/sync-events", ""])
async def test_a_path_before_the_service_stays_and_a_foreign_link_is_not_followed(base: str) -> None:
    asked: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        link = {} if "offset" in request.url.params else {"Link": f'<{base}?offset=100&limit=100>; rel="next"'}
        return httpx.Response(200, json=[EVENT | {"position": 2 - len(asked)}], headers=link)

    async with client(respond) as sync:
        assert [event.position async for event in sync.list()] == [1, 0]
    assert asked == [
        "http://sync-service/base/sync-events?limit=100",
        "http://sync-service/base/sync-events?offset=100&limit=100",
    ]


async def test_an_empty_page_with_a_link_is_not_the_last() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if "before_position" in request.url.params:
            return httpx.Response(200, json=[EVENT | {"position": 1}])
        return httpx.Response(200, json=[], headers={"Link": '</sync-events?before_position=9>; rel="next"'})

    async with client(respond) as sync:
        assert [event.position async for event in sync.list(event_type="delete", processed=True)] == [1]


async def test_members_that_are_new_change_nothing() -> None:
    def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=EVENT | {"position": 1, "event_type": "rename", "state": "new", "more": {}})

    async with client(respond) as sync:
        assert (await sync.get(UUID(int=1))).event_type == "rename"


async def test_a_feed_that_leaves_something_out_stops_the_follower_before_it_is_handed_out() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        first = {"c1": 2, "c3": 5}.get(request.url.params.get("cursor", ""), 1)
        last = {1: 1, 2: 3, 5: 6}[first]
        changes = [EVENT | {"position": position} for position in range(first, last + 1)]
        page = {"changes": changes, "cursor": f"c{last}", "has_more": True, "head_position": 9}
        return httpx.Response(200, json=page | {"from_position": first, "to_position": last})

    async with client(respond) as sync:
        feed = sync.follow()
        assert [(await anext(feed)).position for _ in range(3)] == [1, 2, 3]
        with pytest.raises(GapError, match="left out positions 4 to 4"):
            await anext(feed)


async def test_the_issuer_of_tokens_may_be_out_of_reach_for_a_while() -> None:
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise httpx.ConnectError("the issuer is away")
        return "token"

    async with SyncClient(
        "http://sync-service",
        token,
        policy=QUICK,
        transport=httpx.MockTransport(lambda _request: httpx.Response(200, json=EVENT | {"position": 1})),
    ) as sync:
        await sync.get(UUID(int=1))
    assert asked == 3


async def test_a_token_that_is_refused_again_and_again_is_not_asked_for_without_end() -> None:
    given: list[str] = []

    def token() -> str:
        given.append("token")
        return "token"

    async with SyncClient(
        "http://sync-service", token, transport=httpx.MockTransport(lambda _request: httpx.Response(401))
    ) as sync:
        with pytest.raises(Unauthorized, match="401 Unauthorized"):
            await asyncio.wait_for(anext(sync.follow()), 10)
    assert len(given) == 2
