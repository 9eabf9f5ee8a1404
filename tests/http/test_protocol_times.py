"""How long a connection may take to send and to read, on a real uvicorn in this process."""

import asyncio
import socket
import time
from itertools import chain, repeat

import pytest

from tests.http.served import GET, HEADER_TIMEOUT, Served, assert_refused, in_bytes, serve
from tests.support.waiting import until


async def test_headers_that_do_not_come_are_given_up(served: Served) -> None:
    async with asyncio.TaskGroup() as connections:
        for begun in (b"\r\n", b"G", b"GET / HTTP/1.1\r\nHos", GET[:-2]):
            for earlier in (b"", GET):
                connections.create_task(_expect_given_up(served, earlier, begun))
        connections.create_task(_expect_given_up(served, b"", b""))


async def _expect_given_up(served: Served, earlier: bytes, begun: bytes) -> None:
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
        assert HEADER_TIMEOUT - 0.05 <= time.monotonic() - started < HEADER_TIMEOUT + 10


async def test_a_byte_now_and_then_does_not_help(served: Served) -> None:
    async with served.connect() as connection:
        sending = asyncio.create_task(connection.send(*in_bytes(GET[:-1]), pause_seconds=HEADER_TIMEOUT / 4))
        await assert_refused(connection, 408)
        sending.cancel()


@pytest.mark.slow
async def test_a_slow_header_behind_a_slow_answer_gets_its_408_after_it(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(GET.replace(b"/echo", b"/hold") + GET[:-4])
        await asyncio.sleep(HEADER_TIMEOUT * 2)
        served.application.go_on.set()
        assert (await connection.answer()).status == 200
        await assert_refused(connection, 408)


@pytest.mark.slow
async def test_a_slow_answer_is_not_the_clients_fault(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send(GET.replace(b"/echo", b"/hold"))
        await asyncio.sleep(HEADER_TIMEOUT * 2)
        # The second of these stops the reading, so the third cannot be complete.
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
        assert time.monotonic() - started < HEADER_TIMEOUT + 10


@pytest.mark.slow
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
@pytest.mark.slow
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
            for _ in range(15):
                assert await loop.sock_recv(reader, 4096)
                await asyncio.sleep(0.1)
            assert served.connections == 1
            await until(lambda: served.connections == 0)


@pytest.mark.slow
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
        assert time.monotonic() - started < HEADER_TIMEOUT + 10
