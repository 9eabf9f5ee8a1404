"""What comes of a request to receivers that answer well, badly, or not at all."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trustme

from app.deliveries.policy import classify
from app.outbound.address import AddressPolicy
from app.outbound.client import AttemptResponse, OutboundClient
from app.subscriptions.models import Outcome
from tests.support.ports import ReservedPort
from tests.support.receiver import Receiver, Reply, answer, drip, flood, hang, receiving, reset

ANYWHERE = AddressPolicy(allow_private=True, ports=frozenset())
NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
TIMEOUT_SECONDS = 0.5
BODY = b'{"a":1}'


@pytest.fixture
async def sender() -> AsyncIterator[OutboundClient]:
    """A sender that may send to loopback addresses and has plenty of time."""
    sender = OutboundClient(ANYWHERE, 20, clock=lambda: NOW)
    yield sender
    await sender.close()


@asynccontextmanager
async def impatient() -> AsyncIterator[OutboundClient]:
    """A sender with half a second."""
    sender = OutboundClient(ANYWHERE, TIMEOUT_SECONDS)
    yield sender
    await sender.close()


def raw(*parts: bytes, end: bool = True) -> Reply:
    """Exactly these bytes, and then the connection's end, or silence."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end:
            writer.close()
        else:
            await reader.read(1)

    return reply


def endless(start: bytes, piece: bytes, pause_seconds: float = 0) -> Reply:
    """`start`, and then `piece` again and again."""

    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return reply


async def send(sender: OutboundClient, reply: Reply) -> AttemptResponse:
    """The answer to one request to a receiver that replies so."""
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        return await sender.send(receiver.url, {"webhook-id": "1"}, BODY)


async def test_the_request_is_what_it_is_told(sender: OutboundClient) -> None:
    async with receiving() as receiver:
        url = receiver.url.replace("/hook", "/a;b/%20?c=d&e=%2F")
        headers = {"Content-Type": "application/json", "X-Own": "ü", "Host": "evil", "Content-Length": "1"}
        result = await sender.send(url, {**headers, "Transfer-Encoding": "chunked", "connection": "close"}, BODY)
    assert classify(result) is Outcome.DELIVERED
    [request] = receiver.received
    assert request.body == BODY
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-length": str(len(BODY)),
        "accept-encoding": "identity",
        "content-type": "application/json",
        "x-own": "ü",
    }


async def test_the_target_and_the_method_are_kept_as_they_are(sender: OutboundClient) -> None:
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for target in ("", "/a;b/%20?c=d;e&f=%2F", "/?", "/%c3%bc//x"):
        assert (await sender.send(f"http://127.0.0.1:{port}{target}", {}, b"")).status_code == 200
    server.close()
    await server.wait_closed()
    targets = [b"/", b"/a;b/%20?c=d;e&f=%2F", b"/?", b"/%c3%bc//x"]
    assert lines == [b"POST %b HTTP/1.1\r\n" % target for target in targets]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(sender: OutboundClient, status: int) -> None:
    result = await send(sender, answer(status, b"" if status == 204 else b"ok"))
    assert (result.status_code, result.error, classify(result)) == (status, None, Outcome.DELIVERED)
    assert 0 < result.duration_seconds < 20


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (304, Outcome.FAILED),
        (400, Outcome.FAILED),
        (404, Outcome.FAILED),
        (410, Outcome.GONE),
        (429, Outcome.SLOW_DOWN),
        (500, Outcome.FAILED),
        (502, Outcome.SLOW_DOWN),
        (503, Outcome.FAILED),
        (504, Outcome.SLOW_DOWN),
        (999, Outcome.FAILED),
    ],
)
async def test_no_other_answer_is(sender: OutboundClient, status: int, outcome: Outcome) -> None:
    result = await send(sender, answer(status))
    assert (result.status_code, classify(result)) == (status, outcome)
    assert classify(result).slows == (status in {429, 502, 504})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_never_followed(sender: OutboundClient, status: int) -> None:
    elsewhere = Receiver()
    here = Receiver()
    here.decide = lambda _request: answer(status, location=elsewhere.url)
    async with receiving(here, elsewhere):
        result = await sender.send(here.url, {}, BODY)
    assert (result.status_code, classify(result)) == (status, Outcome.FAILED)
    assert len(here.received) == 1
    assert elsewhere.received == []


async def test_no_proxy_is_asked(sender: OutboundClient, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Receiver()
    async with receiving(proxy, receiver := Receiver()):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        other = OutboundClient(ANYWHERE, 20)
        assert (await other.send(receiver.url, {}, BODY)).status_code == 200
        await other.close()
    assert proxy.received == []


async def test_what_the_policy_forbids_is_not_sent() -> None:
    sender = OutboundClient(AddressPolicy(allow_private=False, ports=frozenset()), 20)
    async with receiving() as receiver:
        named = receiver.url.replace("127.0.0.1", "loopback.example")
        for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost"), "ftp://a.example/", "\0"):
            result = await sender.send(url, {}, BODY)
            assert (result.refused, classify(result)) == (True, Outcome.REFUSED)
        resolved = OutboundClient(AddressPolicy(allow_private=False, ports=frozenset()), 20, resolve=_loopback)
        result = await resolved.send(named, {}, BODY)
        assert (result.refused, classify(result)) == (True, Outcome.REFUSED)
        await resolved.close()
    await sender.close()
    assert receiver.received == []


async def _loopback(_host: str) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (hang, Outcome.TIMEOUT),
        (raw(b"HTTP/1.1 200 OK\r\n", end=False), Outcome.TIMEOUT),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", end=False), Outcome.TIMEOUT),
        (endless(b"", b"H", 0.02), Outcome.TIMEOUT),
        (endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", 0.02), Outcome.TIMEOUT),
        (endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.02), Outcome.TIMEOUT),
        (drip, Outcome.TIMEOUT),
    ],
    ids=["hang", "in-headers", "in-body", "drip-status", "drip-headers", "drip-interim", "drip-body"],
)
async def test_an_attempt_ends_in_time_whatever_comes(reply: Reply, outcome: Outcome) -> None:
    async with impatient() as sender:
        started = time.monotonic()
        result = await send(sender, reply)
        assert TIMEOUT_SECONDS <= time.monotonic() - started < TIMEOUT_SECONDS + 5
    assert (result.status_code, result.timed_out, classify(result)) == (None, True, outcome)
    assert result.error == "no complete response within 0.5 seconds"
    assert TIMEOUT_SECONDS <= result.duration_seconds < TIMEOUT_SECONDS + 5


@pytest.mark.parametrize(
    "reply",
    [
        reset,
        raw(),
        raw(b"HTTP/1.1 200 OK\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"),
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc"),
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b"<html>hello</html>"),
        raw(b"\0" * 1000),
        raw(b"HTTP/2 200\r\n\r\n"),
        raw(b"HTTP/1.1 000 No\r\n\r\n"),
        raw(b"HTTP/1.1 99 No\r\n\r\n"),
        raw(b"HTTP/1.1 2000 No\r\n\r\n"),
        raw(b"HTTP/1.1 -200 No\r\n\r\n"),
        raw(b"HTTP/1.1 OK\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n"),
        raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        endless(b"HTTP/1.1 200 OK\r\na: ", b"b" * 1000),
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
    ids=[
        *("reset", "close", "in-headers", "in-body", "in-chunk", "no-chunk", "ssh", "html", "zeros", "http2"),
        *("status-0", "status-99", "status-2000", "status-negative", "status-none"),
        *("two-lengths", "negative-length", "no-colon", "nul-in-header", "interim-only"),
        *("endless-headers", "endless-header", "endless-interim"),
    ],
)
async def test_what_is_no_whole_answer_in_http_is_a_failure(sender: OutboundClient, reply: Reply) -> None:
    result = await send(sender, reply)
    assert (result.status_code, result.body, classify(result)) == (None, "", Outcome.FAILED)
    assert result.error
    assert result.error.isprintable()
    assert result.error != "an unexpected error"
    assert len(result.error) < 100


async def test_interim_answers_are_passed_over(sender: OutboundClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    result = await send(sender, raw(interim + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
    assert (result.status_code, result.body) == (200, "ok")


async def test_an_upgrade_that_nobody_asked_for_is_a_failure(sender: OutboundClient) -> None:
    result = await send(sender, raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n"))
    assert classify(result) is Outcome.FAILED


@pytest.mark.parametrize(
    "reply",
    [
        flood,
        endless(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 10_000),
        endless(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", b"a" * 10_000),
        endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
    ids=["chunks", "until-close", "length", "tiny-chunks"],
)
async def test_of_a_huge_body_a_little_is_read(sender: OutboundClient, reply: Reply) -> None:
    result = await send(sender, reply)
    assert classify(result) is Outcome.DELIVERED  # it is a 2xx, and came in time
    assert len(result.body) == 1024
    assert result.duration_seconds < 10


async def test_compressed_bodies_are_not_expanded(sender: OutboundClient) -> None:
    result = await send(sender, answer(200, b"\x1f\x8b\x08\x00zip", content_encoding="gzip"))
    assert (result.status_code, result.error) == (200, None)
    assert "zip" in result.body


async def test_the_start_of_the_body_is_safe_to_print(sender: OutboundClient) -> None:
    body = "é\x1b[31m\x00\r\nline\u202egnp\ud7ff".encode() + b"\xff\xfe" + b"x" * 2000
    result = await send(sender, answer(500, body))
    assert result.body.startswith(
        "é\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}\nline\N{REPLACEMENT CHARACTER}gnp"
    )
    assert all(c.isprintable() or c == "\n" for c in result.body)
    assert len(result.body.encode("utf-8", "strict")) < 1200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Thu, 15 Jan 2026 10:31:30 GMT", 90),
        ("Thursday, 15-Jan-26 10:31:30 GMT", 90),
        ("Thu Jan 15 10:31:30 2026", 90),
        ("Thu, 15 Jan 2026 10:00:00 GMT", 0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, 1e9),
        ("Thu, 99 Jan 2026 10:31:30 GMT", None),
        ("\xb2", None),
    ],
)
async def test_retry_after_is_read_in_both_forms(sender: OutboundClient, value: str, seconds: float | None) -> None:
    head = f"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nRetry-After: {value}\r\n\r\n"
    assert (await send(sender, raw(head.encode("latin-1")))).retry_after_seconds == seconds


async def test_nobody_there_is_unreachable(sender: OutboundClient) -> None:
    silent = ReservedPort()
    result = await sender.send(f"http://127.0.0.1:{silent.number}/", {}, BODY)
    assert (result.unreachable, classify(result)) == (True, Outcome.UNREACHABLE)
    assert result.error == "the connection was refused"


async def test_a_name_without_an_address_is_unreachable(sender: OutboundClient) -> None:
    result = await sender.send("http://nothing.invalid/", {}, BODY)
    assert (result.error, classify(result)) == ("the host name has no address", Outcome.UNREACHABLE)


async def test_a_connection_that_is_not_made_in_time_is_unreachable() -> None:
    async def never(_host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    sender = OutboundClient(ANYWHERE, TIMEOUT_SECONDS, resolve=never)
    result = await sender.send("http://slow.example/", {}, BODY)
    await sender.close()
    assert (result.error, classify(result)) == ("no connection within 0.5 seconds", Outcome.UNREACHABLE)


async def test_a_tls_handshake_that_hangs_is_unreachable() -> None:
    async with impatient() as sender, receiving(_listening(hang)) as receiver:
        result = await sender.send(receiver.url.replace("http:", "https:"), {}, BODY)
    assert classify(result) is Outcome.UNREACHABLE


async def test_what_answers_without_tls_is_unreachable_over_https(sender: OutboundClient) -> None:
    async with receiving(_listening(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))) as receiver:
        result = await sender.send(receiver.url.replace("http:", "https:"), {}, BODY)
    assert (result.error, classify(result)) == ("TLS failed", Outcome.UNREACHABLE)


class _listening(Receiver):  # noqa: N801 - reads like the function it stands for
    """A receiver that replies without having read a request."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self._reply = reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await self._reply(reader, writer)


@asynccontextmanager
async def _https(*names: str) -> AsyncIterator[tuple[int, trustme.CA]]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    receiver = Receiver()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], authority
    finally:
        server.close()
        await server.wait_closed()


async def test_tls_is_verified(sender: OutboundClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _https("good.example", "127.0.0.1") as (port, authority):
        untrusted = await sender.send(f"https://127.0.0.1:{port}/", {}, BODY)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        trusting = OutboundClient(ANYWHERE, 20, resolve=_loopback)
        trusted = [await trusting.send(f"https://{host}:{port}/", {}, BODY) for host in ("good.example", "127.0.0.1")]
        misnamed = await trusting.send(f"https://bad.example:{port}/", {}, BODY)
        await trusting.close()
    assert [one.status_code for one in trusted] == [200, 200]
    for result in (untrusted, misnamed):
        assert classify(result) is Outcome.UNREACHABLE
        assert (result.error or "").startswith("the TLS certificate is not trusted: ")
    assert "bad.example" in (misnamed.error or "")


@pytest.mark.parametrize("headers", [{"a\r\nb": "c"}, {"a": "b\r\nc: d"}, {"": "a"}, {"a": "\u20ac"}, {"ü": "a"}])
async def test_a_header_that_is_none_is_not_sent(sender: OutboundClient, headers: dict[str, str]) -> None:
    async with receiving() as receiver:
        result = await sender.send(receiver.url, headers, BODY)
    assert (result.error, classify(result)) == ("the request cannot be sent as it is", Outcome.FAILED)
    assert receiver.received == []


def _ports(seen: list[int], reply: Callable[[int], Reply]) -> Reply:
    """`reply` to each request by its number, with the port that it came from noted in `seen`."""

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[1])
        await reply(len(seen))(reader, writer)

    return noted


async def test_connections_are_kept(sender: OutboundClient) -> None:
    ports: list[int] = []
    reply = _ports(ports, lambda _number: answer(200, b"x" * 30_000))
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        for _ in range(5):
            assert (await sender.send(receiver.url, {}, BODY)).status_code == 200
    assert len(ports) == 5
    assert len(set(ports)) == 1


@pytest.mark.parametrize("failure", [reset, raw()], ids=["reset", "close"])
async def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure(
    sender: OutboundClient, failure: Reply
) -> None:
    ports: list[int] = []
    reply = _ports(ports, lambda number: failure if number == 2 else answer())
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        results = [await sender.send(receiver.url, {}, BODY) for _ in range(2)]
    assert [result.status_code for result in results] == [200, 200]
    assert ports[0] == ports[1] != ports[2]


async def test_many_kept_connections_that_were_closed_meanwhile_are_no_failure(sender: OutboundClient) -> None:
    ports: set[int] = set()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        reply = reset if port in ports else answer()
        ports.add(port)
        await reply(reader, writer)

    async with receiving(Receiver(decide=lambda _request: once, delay_seconds=0.1)) as receiver:
        await asyncio.gather(*(sender.send(receiver.url, {}, BODY) for _ in range(3)))
        assert len(ports) == 3
        assert (await sender.send(receiver.url, {}, BODY)).status_code == 200
    assert len(ports) == 4


async def test_a_new_connection_that_breaks_off_is_not_tried_again_at_once(sender: OutboundClient) -> None:
    ports: list[int] = []
    reply = _ports(ports, lambda _number: reset)
    async with receiving(Receiver(decide=lambda _request: reply)) as receiver:
        assert classify(await sender.send(receiver.url, {}, BODY)) is Outcome.FAILED
    assert len(ports) == 1


@pytest.mark.slow
async def test_many_at_once_do_not_wait_for_each_other(sender: OutboundClient) -> None:
    release = asyncio.Event()

    async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if receiver.at_once == 300:
            release.set()
        await release.wait()
        await answer()(reader, writer)

    async with receiving(Receiver(decide=lambda _request: held)) as receiver:
        results = await asyncio.gather(*(sender.send(receiver.url, {}, BODY) for _ in range(300)))
    assert {result.status_code for result in results} == {200}


async def test_who_cancels_is_obeyed(sender: OutboundClient) -> None:
    arrived = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read(1)

    async with receiving(Receiver(decide=lambda _request: wait)) as receiver:
        sending = asyncio.create_task(sender.send(receiver.url, {}, BODY))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.mark.slow
async def test_nothing_is_left_after_many_failures() -> None:
    async with impatient() as sender:
        for reply in (hang, reset, flood, drip):
            async with receiving(Receiver(decide=partial(_always, reply))) as receiver:
                await asyncio.gather(*(sender.send(receiver.url, {}, BODY) for _ in range(5)))
        assert len(sender._pool) == 0


def _always(reply: Reply, _request: object) -> Reply:
    return reply
