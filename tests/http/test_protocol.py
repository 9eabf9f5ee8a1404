"""What a connection may send, byte by byte, on a real uvicorn in this process."""

import asyncio
import json
from collections.abc import Callable

import pytest

from app.http.protocol import MAX_PIPELINED_REQUESTS
from tests.http.served import CHUNKED, GET, LIMIT, Served, assert_refused, in_bytes
from tests.support.raw_http import RawConnection
from tests.support.waiting import until


def request_of(size: int) -> bytes:
    """A request whose line and headers take exactly so many bytes."""
    start, end = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Fill: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


def whole(data: bytes) -> list[bytes]:
    return [data]


async def test_it_is_known_whether_a_request_is_whole(served: Served) -> None:
    """Also of one that comes while another waits: its body may be incomplete though that of the other is not."""

    async def are_whole(connection: RawConnection) -> list[bool]:
        return [json.loads((await connection.answer()).body)["whole"] for _ in range(2)]

    part = CHUNKED + b"1\r\na\r\n"
    async with served.connect() as connection:
        await connection.send(GET + part + b"0\r\n\r\n")
        assert await are_whole(connection) == [True, True]
        await connection.send(GET.replace(b"/echo", b"/hold") + part)
        await until(lambda: "/hold" in served.application.seen)
        served.application.go_on.set()
        await until(lambda: served.application.seen[-1] == "/echo")
        await connection.send(b"0\r\n\r\n")
        assert await are_whole(connection) == [True, False]


@pytest.mark.parametrize("split", [whole, in_bytes])
async def test_headers_up_to_the_limit_are_taken(served: Served, split: Callable[[bytes], list[bytes]]) -> None:
    async with served.connect() as connection:
        for _ in range(2):
            await connection.send(*split(request_of(LIMIT)))
            assert (await connection.answer()).status == 200
        await connection.send(*split(request_of(LIMIT + 1)))
        await assert_refused(connection, 431)


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /" + b"a" * 10_000_000,
        b"GET / HTTP/1.1\r\n" + b"a" * 10_000_000,
        b"GET / HTTP/1.1\r\nX: " + b"a" * 10_000_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1_000_000,
        CHUNKED + b"0\r\n" + b"X: y\r\n" * 1_000_000,
        CHUNKED + b"0\r\nX: " + b"a" * 10_000_000,
        CHUNKED + b"5;" + b"a" * 10_000_000,
    ],
    ids=["target", "name", "value", "many", "many trailers", "long trailer", "chunk extension"],
)
async def test_a_flood_is_cut_off(served: Served, flood: bytes) -> None:
    async with served.connect() as connection:
        flooding = asyncio.create_task(connection.send(flood))
        await assert_refused(connection, 431)
        flooding.cancel()
    assert served.application.seen in ([], ["/echo"])
    await until(lambda: served.connections == 0)


async def test_a_flood_of_trailers_after_the_answer_is_cut_off(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(CHUNKED.replace(b"/echo", b"/early"))
        assert (await connection.answer()).status == 200
        await connection.send(b"0\r\nX: " + b"a" * 100_000)
        await assert_refused(connection, 431)


@pytest.mark.parametrize("size", [1, LIMIT, 100_000, 1_000_000])
async def test_a_body_is_no_header(served: Served, size: int) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    async with served.connect() as connection:
        for _ in range(2):
            await connection.send(head + b"b" * size)
            assert json.loads((await connection.answer()).body)["body"] == size
        # Many small chunks have more frame than body.
        await connection.send(CHUNKED + b"1\r\nb\r\n" * 10_000 + b"0\r\n\r\n" + request_of(LIMIT))
        assert json.loads((await connection.answer()).body)["body"] == 10_000
        assert json.loads((await connection.answer()).body)["path"] == "/echo"


async def test_trailers_are_not_headers(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(CHUNKED + b"1\r\nb\r\n0\r\nAuthorization: Bearer evil\r\n\r\n" + GET)
        for _ in range(2):
            assert "authorization" not in json.loads((await connection.answer()).body)["headers"]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\0B: c\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=repr,
)
async def test_what_is_not_http_gets_400(served: Served, nonsense: bytes) -> None:
    async with served.connect() as connection:
        await connection.send(nonsense)
        await assert_refused(connection, 400)
    assert served.application.seen == []


@pytest.mark.parametrize(
    "coding",
    [b"gzip, chunked", b"gzip", b"chunked, gzip", b"gzip\r\nTransfer-Encoding: chunked", b"identity"],
    ids=repr,
)
async def test_a_transfer_coding_other_than_chunked_is_refused(served: Served, coding: bytes) -> None:
    async with served.connect() as connection:
        await connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n0\r\n\r\n" % coding)
        answer = await connection.answer()
    assert answer.status in (400, 501)
    assert json.loads(answer.body)["status"] == answer.status
    assert served.application.seen == []


async def test_the_name_of_the_transfer_coding_has_no_case(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(CHUNKED.replace(b"chunked", b"Chunked") + b"0\r\n\r\n")
        assert (await connection.answer()).status == 200


async def test_http_1_0_needs_no_host(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(b"GET /echo HTTP/1.0\r\n\r\n")
        assert (await connection.answer()).status == 200


async def test_a_body_that_breaks_off_into_nonsense_gets_400_and_the_application_is_told(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(CHUNKED + b"3\r\nabc\r\n", b"nonsense\r\n", pause_seconds=0.05)
        await assert_refused(connection, 400)
    assert served.application.left == ["/echo"]


async def test_an_answer_that_has_begun_is_not_followed_by_a_refusal(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(CHUNKED.replace(b"/echo", b"/begun"), b"nonsense\r\n", pause_seconds=0.05)
        assert (await connection.rest()).endswith(b"\r\n\r\n")
    assert served.application.left == ["/begun"]


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    async with served.connect() as connection:
        paths = ["/hold/1", *(f"/{number}" for number in range(2, MAX_PIPELINED_REQUESTS + 1))]
        await connection.send(b"".join(GET.replace(b"/echo", path.encode()) for path in paths))
        await until(lambda: served.application.seen == ["/hold/1"])
        served.application.go_on.set()
        assert [json.loads((await connection.answer()).body)["path"] for _ in paths] == paths


@pytest.mark.parametrize("refused", [b"nonsense\r\n\r\n", CHUNKED + b"nonsense\r\n"], ids=["head", "body"])
async def test_a_refusal_waits_for_its_turn(served: Served, refused: bytes) -> None:
    async with served.connect() as connection:
        await connection.send(GET.replace(b"/echo", b"/hold") + GET + refused + GET)
        await until(lambda: served.application.seen == ["/hold"])
        served.application.go_on.set()
        assert [json.loads((await connection.answer()).body)["path"] for _ in range(2)] == ["/hold", "/echo"]
        await assert_refused(connection, 400)
    assert served.application.seen == ["/hold", "/echo"]


async def test_too_many_pipelined_requests_are_not_queued(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(GET.replace(b"/echo", b"/hold") + GET * 10_000)
        await until(lambda: served.application.seen == ["/hold"])
        served.application.go_on.set()
        for _ in range(1 + MAX_PIPELINED_REQUESTS):
            assert (await connection.answer()).status == 200
        await assert_refused(connection, 400)


async def test_an_offer_of_another_protocol_is_declined(served: Served) -> None:
    upgrade = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    for protocol in (b"h2c", b"websocket"):
        async with served.connect() as connection:
            await connection.send(upgrade % protocol + GET)
            answer = await connection.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await connection.rest() == b""
