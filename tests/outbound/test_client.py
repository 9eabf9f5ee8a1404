"""Requests as they are sent, and what comes of them by status and by time."""

import asyncio
import time
from functools import partial

import pytest

from app.deliveries.policy import classify
from app.outbound.address import AddressPolicy
from app.outbound.client import OutboundClient
from app.subscriptions.models import Outcome
from tests.outbound.support import ANYWHERE, BODY, TIMEOUT_SECONDS, endless, impatient, loopback, raw, send
from tests.support.receiver import Receiver, Reply, answer, drip, flood, hang, receiving, reset


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
        resolved = OutboundClient(AddressPolicy(allow_private=False, ports=frozenset()), 20, resolve=loopback)
        result = await resolved.send(named, {}, BODY)
        assert (result.refused, classify(result)) == (True, Outcome.REFUSED)
        await resolved.close()
    await sender.close()
    assert receiver.received == []


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


@pytest.mark.parametrize("headers", [{"a\r\nb": "c"}, {"a": "b\r\nc: d"}, {"": "a"}, {"a": "\u20ac"}, {"ü": "a"}])
async def test_a_header_that_is_none_is_not_sent(sender: OutboundClient, headers: dict[str, str]) -> None:
    async with receiving() as receiver:
        result = await sender.send(receiver.url, headers, BODY)
    assert (result.error, classify(result)) == ("the request cannot be sent as it is", Outcome.FAILED)
    assert receiver.received == []


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
