"""The limits of a connection, byte by byte, on a real uvicorn in this process."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import Any

import pytest
import uvicorn

from app.config import Settings
from app.http.protocol import MAX_PIPELINED_REQUESTS, BoundedHttpProtocol
from app.metrics import Metrics
from tests.support.raw_http import Answer, RawConnection, connect
from tests.support.waiting import until

LIMIT = 2048
HEADER_TIMEOUT = 0.4
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Application:
    """What the requests reach. `/early` answers before it reads, `/hold` once it is let, `/begun` never ends.

    `/flood` sends pieces for as long as `keeps_flooding`.
    """

    keeps_flooding: Callable[[], bool]
    piece_bytes = 8192

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.seen: list[str] = []
        self.left: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(scope, receive, send)
            return
        path = scope["path"]
        self.seen.append(path)
        body = b""
        if path == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        while path != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(path)
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if path.startswith("/hold"):
            await self.go_on.wait()
        if path == "/flood":
            await self._flood(send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        content = json.dumps({"path": path, "body": len(body), "headers": headers}).encode()
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    async def _flood(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.keeps_flooding():
            await send({"type": "http.response.body", "body": b"x" * self.piece_bytes, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body"})


async def _lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    scope["state"]["settings"] = Settings(_env_file=None, max_header_bytes=LIMIT, header_timeout=HEADER_TIMEOUT)
    scope["state"]["metrics"] = Metrics()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class Served:
    """The application behind a server; `connect` opens a connection to it."""

    def __init__(self, application: Application, server: uvicorn.Server) -> None:
        self.application = application
        self.server = server

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    @property
    def reading_is_paused(self) -> bool:
        protocols = (each for each in self.server.server_state.connections if isinstance(each, BoundedHttpProtocol))
        return any(protocol.flow.read_paused for protocol in protocols)

    @property
    def port(self) -> int:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    def connect(self) -> Any:
        return connect(self.port)


@asynccontextmanager
async def serve(keep_alive_seconds: int = 5) -> AsyncIterator[Served]:
    application = Application()
    config = uvicorn.Config(
        application,
        port=0,
        http=BoundedHttpProtocol,
        log_config=None,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield Served(application, server)
    application.go_on.set()
    server.should_exit = True
    await running


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve() as served:
        yield served


def assert_problem(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["date"]
    problem = json.loads(answer.body)
    assert problem.keys() == {"type", "title", "status", "detail", "instance"}
    assert problem["status"] == status
    assert problem["instance"] == f"urn:request:{answer.headers['x-request-id']}"


async def assert_refused(connection: RawConnection, status: int) -> None:
    """The answer, and then the end of the connection."""
    assert_problem(await connection.answer(), status)
    assert await connection.rest() == b""


def request_of(size: int) -> bytes:
    """A request whose line and headers take exactly so many bytes."""
    start, end = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Fill: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


def whole(data: bytes) -> list[bytes]:
    return [data]


def in_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


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


@pytest.mark.parametrize(
    ("earlier", "begun"),
    [
        (b"", b""),
        *((earlier, begun) for earlier in (b"", GET) for begun in (b"\r\n", b"G", b"GET / HTTP/1.1\r\nHos", GET[:-2])),
    ],
)
async def test_headers_that_do_not_come_are_given_up(served: Served, earlier: bytes, begun: bytes) -> None:
    async with served.connect() as connection:
        if earlier:
            await connection.send(earlier)
            assert (await connection.answer()).status == 200
        started = time.monotonic()
        await connection.send(begun)
        if begun.strip():
            await assert_refused(connection, 408)
        else:
            assert await connection.rest() == b""
        assert HEADER_TIMEOUT - 0.05 <= time.monotonic() - started < HEADER_TIMEOUT + 1


async def test_a_byte_now_and_then_does_not_help(served: Served) -> None:
    async with served.connect() as connection:
        sending = asyncio.create_task(connection.send(*in_bytes(GET[:-1]), pause_seconds=HEADER_TIMEOUT / 4))
        await assert_refused(connection, 408)
        sending.cancel()


async def test_a_slow_header_behind_a_slow_answer_gets_its_408_after_it(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(GET.replace(b"/echo", b"/hold") + GET[:-4])
        await asyncio.sleep(HEADER_TIMEOUT * 2)
        served.application.go_on.set()
        assert (await connection.answer()).status == 200
        await assert_refused(connection, 408)


async def test_a_slow_answer_is_not_the_clients_fault(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(GET.replace(b"/echo", b"/hold"))
        await asyncio.sleep(HEADER_TIMEOUT * 2)
        # The second of these stops the reading, so the third can not be complete.
        await connection.send(GET + GET[:-4], GET[-4:], pause_seconds=HEADER_TIMEOUT * 2)
        served.application.go_on.set()
        for _ in range(3):
            assert (await connection.answer()).status == 200


async def test_what_has_come_in_time_is_not_late_because_it_was_not_read(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(GET.replace(b"/echo", b"/hold"))
        await until(lambda: served.application.seen == ["/hold"])
        await connection.send(GET + GET[:-4])
        await until(lambda: served.reading_is_paused)
        await connection.send(GET[-4:])
        served.application.go_on.set()
        time.sleep(HEADER_TIMEOUT * 1.5)  # noqa: ASYNC251  # the next turn of the loop resumes reading and is past the deadline
        for _ in range(3):
            assert (await connection.answer()).status == 200


async def test_the_rest_of_an_answered_request_is_not_waited_for_long(served: Served) -> None:
    head = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    async with served.connect() as connection:
        await connection.send(head)
        assert (await connection.answer()).status == 200
        await connection.send(b"rest of i")
        await connection.send(head)
        assert (await connection.answer()).status == 200
        started = time.monotonic()
        await connection.send(b"rest")
        assert await connection.rest() == b""
        assert time.monotonic() - started < HEADER_TIMEOUT + 1


async def test_an_idle_connection_is_kept_and_then_closed() -> None:
    head = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    for requests in ([GET], [head, b"x"]):
        async with serve(keep_alive_seconds=1) as served, served.connect() as connection:
            await connection.send(*requests, pause_seconds=0.1)
            assert (await connection.answer()).status == 200
            await asyncio.sleep(HEADER_TIMEOUT * 1.5)
            assert served.connections == 1
            assert await connection.rest() == b""
            await until(lambda: served.connections == 0)


# The first waits for its client in the middle of the answer, the second has the end of it in a buffer of its own.
@pytest.mark.parametrize("enough_bytes", [10**9, 1])
async def test_an_answer_that_is_not_read_is_given_up(enough_bytes: int) -> None:
    async with serve(keep_alive_seconds=1) as served, served.connect() as connection:

        def unwritten_bytes() -> int:
            return sum(one.transport.get_write_buffer_size() for one in served.server.server_state.connections)

        served.application.keeps_flooding = lambda: served.connections > 0 and unwritten_bytes() < enough_bytes
        await connection.send(GET.replace(b"/echo", b"/flood"))
        await until(lambda: unwritten_bytes() > 0)
        await until(lambda: served.connections == 0, 10)


# Again the answer waits for its client, or is in a buffer: more than the kernel takes, which is 4 MB.
@pytest.mark.load
@pytest.mark.parametrize(("pieces", "piece_bytes"), [(2000, 8192), (1, 16_000_000)])
async def test_who_reads_slowly_is_not_cut_off_before_he_stops(pieces: int, piece_bytes: int) -> None:
    async with serve(keep_alive_seconds=1) as served:
        served.application.piece_bytes = piece_bytes
        served.application.keeps_flooding = chain(repeat(True, pieces), repeat(False)).__next__
        loop = asyncio.get_running_loop()
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            await loop.sock_connect(reader, ("127.0.0.1", served.port))
            await loop.sock_sendall(reader, GET.replace(b"/echo", b"/flood"))
            for _ in range(25):
                assert await loop.sock_recv(reader, 4096)
                await asyncio.sleep(0.1)
            assert served.connections == 1
            await until(lambda: served.connections == 0, 2)


async def test_a_short_deadline_is_not_forgotten_for_a_long_one(served: Served) -> None:
    async with served.connect() as connection:
        # The body comes after the answer, so that the connection then is idle by our own, longer timer.
        await connection.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        assert (await connection.answer()).status == 200
        await connection.send(b"x")
        await asyncio.sleep(HEADER_TIMEOUT * 1.5)
        started = time.monotonic()
        await connection.send(GET[:-1])
        await assert_refused(connection, 408)
        assert time.monotonic() - started < HEADER_TIMEOUT + 1
