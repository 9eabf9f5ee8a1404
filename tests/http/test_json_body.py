"""Bodies: how they must be declared, and how much of them is read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import HTTPException, Request
from hypothesis import given
from hypothesis import strategies as st

from app.http.body import JsonRequest, UnsupportedMediaType, require_json


def receiver(body: AsyncIterator[bytes]) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        chunk = await anext(body, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return receive


def request(headers: list[tuple[bytes, bytes]], body: AsyncIterator[bytes], limit: int) -> JsonRequest:
    return JsonRequest({"type": "http", "headers": headers}, receiver(body), max_bytes=limit, timeout_seconds=5)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_body_up_to_the_limit_is_read() -> None:
    assert await request([(b"content-length", b"4")], chunks(b"[1", b"2]"), 4).json() == [12]
    assert await request([], chunks(b"[1", b"2]"), 5).json() == [12]


async def test_a_body_beyond_the_limit_is_refused_at_the_first_byte_too_much() -> None:
    body = chunks(b"[1", b"23", b"4]")
    with pytest.raises(HTTPException, match="larger than 3 bytes") as refused:
        await request([], body, 3).json()
    assert refused.value.status_code == 413
    assert await anext(body) == b"4]"


async def test_of_a_body_declared_too_long_nothing_is_read() -> None:
    body = chunks(b"[1]")
    with pytest.raises(HTTPException, match="larger than 3 bytes"):
        await request([(b"content-length", b"4")], body, 3).json()
    assert await anext(body) == b"[1]"


def declared(*headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "headers": list(headers)})


@pytest.mark.parametrize(
    "value", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"', "application/x+json;"]
)
def test_json_is_taken_however_it_is_declared(value: str) -> None:
    require_json(declared((b"content-type", value.encode()), (b"content-encoding", b"identity")))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "json",
        "charset*0=ut; charset*;1=f-8",
        "application/json; charset*=0=ut; charset*1=f-8",
        "text/json",
        "application/jsonx",
        "application/json, text/plain",
        "application/json;charset=utf-16",
    ],
)
def test_what_is_not_declared_as_json_is_refused(value: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        require_json(declared((b"content-type", value.encode())))


def test_missing_repeated_and_coded_content_types_are_refused() -> None:
    json_type = (b"content-type", b"application/json")
    for headers in ([], [json_type, json_type], [json_type, (b"content-encoding", b"gzip")]):
        with pytest.raises(UnsupportedMediaType):
            require_json(declared(*headers))


@given(value=st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"application/json;" + tail))
def test_any_content_type_is_taken_or_refused(value: bytes) -> None:
    with suppress(UnsupportedMediaType):
        require_json(declared((b"content-type", value)))


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    body = JsonRequest({"type": "http", "headers": []}, receiver(never()), max_bytes=9, timeout_seconds=0.01)
    with pytest.raises(HTTPException) as refused:
        await body.json()
    assert (refused.value.status_code, refused.value.headers) == (408, {"Connection": "close"})
