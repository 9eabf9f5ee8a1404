"""What is kept of an answer can be shown anywhere."""

import pytest

from app.outbound.client import printable

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
