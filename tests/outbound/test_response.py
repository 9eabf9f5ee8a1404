"""What is kept of an answer can be shown anywhere."""

from datetime import UTC, datetime

import pytest

from app.outbound.client import LONGEST_SECONDS, printable, retry_after_seconds

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
