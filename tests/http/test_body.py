"""Bodies: how they must be declared, and how much of them is read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import HTTPException, Request
from hypothesis import given
from hypothesis import strategies as st

from app.concurrency.fair_semaphore import ConcurrencyLimited
from app.http import body
from app.http.body import FREE_BYTES, JsonRequest, LargeBodies, UnsupportedMediaType, require_json
from app.http.strict_json import parse_json


def receiver(body: AsyncIterator[bytes]) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        chunk = await anext(body, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return receive


def request(
    headers: list[tuple[bytes, bytes]],
    body: AsyncIterator[bytes],
    limit: int,
    *,
    timeout_seconds: float = 5,
    has_arrived: bool = False,
    semaphore: LargeBodies | None = None,
) -> JsonRequest:
    return JsonRequest(
        {"type": "http", "headers": headers},
        receiver(body),
        max_bytes=limit,
        timeout_seconds=timeout_seconds,
        has_arrived=has_arrived,
        large_bodies=semaphore or LargeBodies(limit, timeout_seconds=5),
    )


async def read(request: JsonRequest) -> Any:
    """As FastAPI does."""
    return await request.json() if await request.body() else None


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("has_arrived", [True, False])
async def test_a_body_up_to_the_limit_is_read(has_arrived: bool) -> None:
    length = [(b"content-length", b"4")]
    assert await read(request(length, chunks(b"[1", b"2]"), 4, has_arrived=has_arrived)) == [12]
    assert await read(request([], chunks(b"[1", b"2]"), 5, has_arrived=has_arrived)) == [12]
    assert await read(request([], chunks(), 5, has_arrived=has_arrived)) is None


@pytest.mark.parametrize("has_arrived", [True, False])
async def test_a_body_beyond_the_limit_is_refused_at_the_first_byte_too_much(has_arrived: bool) -> None:
    body = chunks(b"[1", b"23", b"4]")
    with pytest.raises(HTTPException, match="larger than 3 bytes") as refused:
        await read(request([], body, 3, has_arrived=has_arrived))
    assert refused.value.status_code == 413
    assert await anext(body) == b"4]"


async def test_of_a_body_declared_too_long_nothing_is_read() -> None:
    body = chunks(b"[1]")
    with pytest.raises(HTTPException, match="larger than 3 bytes"):
        await read(request([(b"content-length", b"4")], body, 3))
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

    body = request([], never(), 9, timeout_seconds=0.01)
    with pytest.raises(HTTPException) as refused:
        await read(body)
    assert (refused.value.status_code, refused.value.headers) == (408, {"Connection": "close"})


async def test_a_large_body_waits_for_room_and_gives_it_back() -> None:
    size = FREE_BYTES + 2
    rejected: list[None] = []
    semaphore = LargeBodies(size, timeout_seconds=0.01, on_reject=lambda: rejected.append(None))
    declared = [(b"content-length", b"%d" % size)]
    for headers in (declared, []):
        first = request(headers, chunks(b"[" + b" " * FREE_BYTES, b"]"), size, semaphore=semaphore)
        assert await read(first) == []
        for headers_of_second in (declared, []):
            body = chunks(b"[" + b" " * FREE_BYTES, b"]")
            with pytest.raises(ConcurrencyLimited) as refused:
                await read(request(headers_of_second, body, size, semaphore=semaphore))
            assert refused.value.headers == {"Retry-After": "1", "Connection": "close"}
            assert await anext(body) == b"]", "no more is read than what is free"
        assert await read(request([], chunks(b"[", b"]"), size, semaphore=semaphore)) == []
        first.release()
        first.release()
    assert len(rejected) == 4


async def test_an_announcement_takes_no_room() -> None:
    size = FREE_BYTES + 2
    semaphore = LargeBodies(size, timeout_seconds=5)

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    stalled = request([(b"content-length", b"%d" % size)], nothing(), size, timeout_seconds=60, semaphore=semaphore)
    waiting = asyncio.create_task(read(stalled))
    await asyncio.sleep(0)
    whole = chunks(b"[" + b" " * FREE_BYTES, b"]")
    assert await read(request([], whole, size, timeout_seconds=5, semaphore=semaphore)) == []
    waiting.cancel()
    await asyncio.wait({waiting})


async def test_waiting_for_room_takes_nothing_from_the_time_of_the_body() -> None:
    size = FREE_BYTES + 2
    semaphore = LargeBodies(size, timeout_seconds=5)
    permit = await semaphore.acquire("other", size)

    whole = chunks(b"[" + b" " * FREE_BYTES, b"]")
    second = asyncio.create_task(read(request([], whole, size, timeout_seconds=0.5, semaphore=semaphore)))
    await asyncio.sleep(0.6)
    permit.release()
    assert await second == []


async def test_bodies_that_come_together_are_parsed_in_turns_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    size, number = FREE_BYTES + 2, 5
    turn, parsed_in = 0, []

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def parse(raw: bytearray) -> Any:
        parsed_in.append(turn)
        return parse_json(raw)

    monkeypatch.setattr(body, "parse_json", parse)
    semaphore = LargeBodies(size * number * 2, timeout_seconds=5)
    counting = asyncio.create_task(count_turns())
    reads = (
        read(request([], chunks(b"[" + b" " * FREE_BYTES, b"]"), size, has_arrived=n % 2 == 0, semaphore=semaphore))
        for n in range(number)
    )
    assert await asyncio.gather(*reads) == [[]] * number
    counting.cancel()
    assert len(set(parsed_in)) == number
