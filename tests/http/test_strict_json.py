"""JSON that means the same to every reader."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http.strict_json import parse_json

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)
FRAGMENT = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "\\ud800", "\\u0000", "0", "-", "1e400", "9" * 20, "null", "NaN"]
)
ANY_BYTES = st.binary() | st.lists(FRAGMENT | st.text(max_size=3)).map(
    lambda parts: "".join(parts).encode(errors="surrogatepass")
)

# Python's own messages, and ours: none has a place for the input.
MESSAGES = {
    "Expecting value",
    "Expecting property name enclosed in double quotes",
    "Expecting ':' delimiter",
    "Expecting ',' delimiter",
    "Illegal trailing comma before end of object",
    "Illegal trailing comma before end of array",
    "Extra data",
    "Unterminated string starting at",
    "Invalid control character at",
    "Invalid \\escape",
    "Invalid \\uXXXX escape",
    "the text is not UTF-8",
    "the text is nested too deeply",
    "an object has the same name twice",
    "a number is too large",
    "an integer does not fit into 64 bits; send it as a string",
    "NaN and Infinity are not JSON",
    "a string has a NUL character",
    "a string has half of a surrogate pair",
}


def refusal(raw: bytes) -> str:
    with pytest.raises(json.JSONDecodeError) as refused:
        parse_json(raw)
    return refused.value.msg


@settings(max_examples=50)
@given(value=VALUE, escaped=st.booleans())
def test_what_is_within_the_rules_is_read_as_it_is(value: Any, escaped: bool) -> None:
    read = parse_json(json.dumps(value, ensure_ascii=escaped).encode())
    # Compared as text, since 1 == True == 1.0 and 0.0 == -0.0.
    assert json.dumps(read) == json.dumps(value)


@settings(max_examples=50)
@given(raw=ANY_BYTES)
def test_any_bytes_are_read_or_refused_in_fixed_words(raw: bytes) -> None:
    try:
        value = parse_json(raw)
    except json.JSONDecodeError as error:
        assert error.msg.rstrip(": ") in MESSAGES  # noqa: PT017 - a value is as good as a refusal
    else:
        assert_within_the_rules(value)
        # Whatever is read, a lenient reader reads the same.
        assert json.dumps(json.loads(raw)) == json.dumps(value)


def assert_within_the_rules(value: Any) -> None:
    for item in walk(value):
        if isinstance(item, str):
            assert "\0" not in item
            assert item.encode().decode() == item
        elif isinstance(item, int):
            assert -(2**63) <= item < 2**63
        elif isinstance(item, float):
            assert math.isfinite(item)


def walk(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        for member in value.items():
            yield from walk(list(member))
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a": 1, "a": 1}', "the same name twice"),
        (b'[{"b": {"a": 1, "\\u0061": 2}}]', "the same name twice"),
        (b'{"a\\"": 1, "a\\"": 1}', "the same name twice"),
        (b'{"a": "\\"\\"", "a": ""}', "the same name twice"),
        (b'{"a": 1, "a": 1e400}', "number is too large"),
        (b'["Infinity", 1e400]', "number is too large"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "NaN"),
        (b"1e400", "number is too large"),
        (b"-1e400", "number is too large"),
        (b"9223372036854775808", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b"9" * 5000, "64 bits"),
        (b'"\\u0000"', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'"\x00"', "control character"),
        (b'"\\ud800"', "surrogate"),
        (b'["\\udc00\\ud800"]', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xc0\x80"', "UTF-8"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"\xef\xbb\xbf{}", "Expecting value"),
        ("{}".encode("utf-16"), "UTF-8"),
        ("{}".encode("utf-16-le"), "Expecting property name"),
        (b"", "Expecting value"),
        (b"'a'", "Expecting value"),
        (b"{} {}", "Extra data"),
        (b"[1,]", ""),
        (b"01", "Extra data"),
        (b"\xc2\xa01", "Expecting value"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_refusal_says_why(raw: bytes, message: str) -> None:
    assert message in refusal(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b'{"Infinity": "\\"0e9999999999999999999\\""}', {"Infinity": '"0e9999999999999999999"'}),
        (b"[" * 300 + b"]" * 300, json.loads("[" * 300 + "]" * 300)),
        (b"0." + b"1" * 5000, float("0." + "1" * 5000)),
        (b" \t\r\n[1] \n", [1]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_outermost_values_are_read(raw: bytes, value: Any) -> None:
    assert parse_json(raw) == value
