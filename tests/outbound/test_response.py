"""Whole, broken, endless and odd responses: what is kept of them can be shown anywhere."""

from datetime import UTC, datetime

import pytest

from app.deliveries.policy import classify
from app.outbound.client import LONGEST_SECONDS, OutboundClient, printable, retry_after_seconds
from app.subscriptions.models import Outcome
from tests.outbound.support import endless, raw, send
from tests.support.receiver import Reply, answer, flood, reset

BROKEN = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"ok\r\nfine\n\tthen", "ok\nfine\n\tthen"),
        ("größer, \N{PARTY POPPER}, 漢字".encode(), "größer, \N{PARTY POPPER}, 漢字"),
        (b"\x1b[31mred\x07\x00\r", f"{BROKEN}[31mred{BROKEN * 3}"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b\N{LINE SEPARATOR}c".encode(), f"a{BROKEN}b{BROKEN}c"),
        (b"\xff\xfe!", f"{BROKEN * 2}!"),
        (b"x" * 1023 + "é".encode(), "x" * 1023),  # cut in the middle of a character
        (b"x" * 5000, "x" * 1024),
        (b"", ""),
    ],
    ids=["plain", "letters", "control", "marks", "not UTF-8", "cut", "long", "empty"],
)
def test_it_is_text_that_prints(body: bytes, shown: str) -> None:
    assert printable(body) == shown


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Thu, 15 Jan 2026 10:31:00 GMT", 60),
        ("Thu, 15 Jan 2026 10:00:00 GMT", 0),
        ("99999999999", LONGEST_SECONDS),
        ("9" * 400, LONGEST_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_SECONDS),
        ("Fri, 31 Dec 99999 23:59:59 GMT", LONGEST_SECONDS),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", LONGEST_SECONDS),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\xb2", None),
        ("", None),
    ],
)
def test_absurd_values_of_retry_after_count_as_the_longest(value: str, seconds: float | None) -> None:
    now = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    assert retry_after_seconds([(b"Retry-After", value.encode("latin-1"))], now) == seconds


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
